"""Measuring a learner on fixed episodes."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import inf, nan

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from metarun.algorithms.base import Draws
from metarun.core.class_intervals import ClassSample
from metarun.core.intervals import Estimate, clustered_mean
from metarun.core.tasks import TaskBatch, chunks
from metarun.datasets.base import Dataset
from metarun.engine.baselines import baselines
from metarun.engine.compile.fusion import compiled_whole
from metarun.engine.compile.recording import Recorded
from metarun.engine.memory_estimate import as_memory_allows
from metarun.engine.over_tasks import over_tasks
from metarun.engine.processes.single import SINGLE_PROCESS, Processes
from metarun.learner.learner import Curve, Learner, MetaParameters

EPISODES_AT_ONCE = 32


@dataclass(frozen=True)
class EvaluationResult:
    """Metrics of an evaluation, episode by episode: float64 on the CPU.

    curves: ``[episodes, steps + 1]`` each, before and after every inner step; or ``[episodes, 1]``, after the last
    alone. pooled: figures over the examples of all episodes together, after the last. answers: what queries were and
    what they were taken for, int64 ``[episodes, q]`` (`TaskKind.answers`). classes: what the labels stand for, int64
    ``[episodes, ways]``, or ``[episodes, 0]`` (`Task.classes`). sources: which task each is a visit to, int64
    ``[episodes]``, -1 where it is one of its own (`Task.source`); empty: all are. baselines: what trivial methods
    reach, ``[episodes]`` each (`metarun.engine.baselines`); empty where not asked for.

    Intervals are clustered by task, since visits to one task are not independent of each other. Where episodes draw
    classes, each is a task of its own; `other_classes` says what that leaves out.
    """

    curves: dict[str, Tensor]
    pooled: dict[str, float] = field(default_factory=dict)
    answers: dict[str, Tensor] = field(default_factory=dict)
    classes: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.int64))
    sources: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    baselines: dict[str, Tensor] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(next(iter(self.curves.values())))

    @cached_property
    def tasks(self) -> list[int]:
        """The number of each episode's task in the dataset, or the number of the episode if every task is new."""
        if not len(self.sources):
            return list(range(self.count))
        return task_numbers(self.sources)

    def final(self, metric: str) -> Tensor:
        """The metric after the last inner step, ``[episodes]``."""
        return self.curves[metric][:, -1]

    def mean(self, metric: str) -> float:
        return self.final(metric).mean().item()

    def means(self) -> dict[str, float]:
        """The mean of every metric."""
        return {metric: self.mean(metric) for metric in self.curves}

    def half_width(self, metric: str, point: int = -1) -> float:
        """Half-width of the 95 % interval of a metric's mean at a point of its curve, or NaN."""
        return half_width(self.curves[metric][:, point], self.tasks)

    def other_classes(self, metric: str) -> Estimate | None:
        """The mean with its interval for classes that might have been drawn; ``None`` where labels mean none."""
        return None if self._class_sample is None else self._class_sample.mean(self.final(metric).tolist())

    def summary(self) -> dict[str, dict[str, float | int]]:
        """For every metric after adaptation: mean, half-width of its 95 % interval, episodes, distinct tasks.

        If some values are infinite or NaN, so is the mean; then also how many are ``not_finite``, and the ``median`` of
        all, these counting as the worst. Where episodes draw classes also the distinct ``classes`` and
        ``ci95_classes``, the half-width for classes that might have been drawn.
        """
        found: dict[str, dict[str, float | int]] = {}
        for metric in self.curves:
            found[metric] = {
                "mean": self.mean(metric),
                "ci95": self.half_width(metric),
                "episodes": self.count,
                "tasks": len(set(self.tasks)),
            }
            lost = ~self.final(metric).isfinite()
            if lost.any():
                found[metric]["not_finite"] = int(lost.sum())
                found[metric]["median"] = self._median(metric)
            if (others := self.other_classes(metric)) is not None:
                found[metric]["classes"] = others.clusters
                found[metric]["ci95_classes"] = nan if others.half is None else others.half
        return found

    def adaptation(self) -> dict[str, dict[str, list[float]]]:
        """The adaptation curves: mean and half-width at each of the ``steps + 1`` points."""
        return {
            metric: {
                "mean": curve.mean(0).tolist(),
                "ci95": [self.half_width(metric, point) for point in range(curve.shape[1])],
            }
            for metric, curve in self.curves.items()
        }

    def _median(self, metric: str) -> float:
        """The median after adaptation, where infinite and missing values are worse than any other; of two the mean."""
        # Among the metrics only errors have no bound.
        values = self.final(metric).nan_to_num(nan=inf, posinf=inf, neginf=inf).sort().values
        middle = values[[(len(values) - 1) // 2, len(values) // 2]]
        return float(middle.mean())

    @cached_property
    def _class_sample(self) -> ClassSample | None:
        return ClassSample(self.classes.tolist()) if self.classes.numel() else None


_Part = tuple[Curve, Tensor, Tensor, dict[str, Tensor]]
"""Of some episodes: curves, classes, sources and baselines."""


def episodes_of(dataset: Dataset, stream: str, asked: int, group: int | None = None) -> int:
    """How many episodes to measure: those asked for, but none that would come again exactly alike."""
    return min(asked, dataset.distinct(stream, group) or asked)


class Evaluator:
    """Adapts a learner to episodes and measures it, ``chunk`` episodes at once; ``None``: `EPISODES_AT_ONCE`.

    compiled: whether `torch.compile` fuses the computation. Several ``processes`` take chunks in turn, and each gets
    what one alone would.
    """

    def __init__(
        self, learner: Learner, chunk: int | None = None, compiled: bool = False, processes: Processes = SINGLE_PROCESS
    ) -> None:
        self.learner, self.compiled, self.processes = learner, compiled, processes
        self.chunk = self._at_once = chunk or EPISODES_AT_ONCE
        self._curves = {whole: _curves(learner, whole, compiled) for whole in (False, True)}

    def recorded(self) -> "Evaluator":
        """The same, replayed as CUDA graphs."""
        other = copy.copy(self)
        other._curves = {whole: Recorded(curves) for whole, curves in self._curves.items()}
        return other

    def __call__(
        self,
        phi: MetaParameters,
        dataset: Dataset,
        stream: str,
        episodes: int,
        whole_curve: bool = True,
        progress: Callable[[int], object] = lambda done: None,
        group: int | None = None,
        with_baselines: bool = False,
    ) -> EvaluationResult:
        """Measure the first ``episodes`` episodes of a stream; φ stays as it is.

        Fewer if the stream has fewer distinct ones: repeated episodes would only make the interval too narrow.
        A ``whole_curve`` takes a prediction at every inner step, which often costs more than the steps. ``progress`` is
        told how many episodes are done. With ``group`` all tasks are of that group of the dataset's. With baselines
        what they reach on the same episodes is measured too.
        """
        kind = self.learner.problem.kind
        processes = self.processes
        episodes = episodes_of(dataset, stream, episodes, group)
        size = min(self.chunk, episodes)
        parts: list[_Part] = []
        for first in processes.local_items(range(0, episodes, size)):
            batch = dataset.sample(stream, first // size, size, group)
            trivial = baselines(kind, batch) if with_baselines else {}
            parts.append((self.curves(phi, batch, whole_curve), batch.classes, batch.source, trivial))
            progress(min(first + size * processes.count, episodes))
        parts = processes.all_gather(parts, -(-episodes // size))
        measured: _Part = tree_map(lambda *leaves: torch.cat(leaves)[:episodes].cpu(), *parts)
        (metrics, totals, answers), classes, sources, trivial = measured
        curves = {name: values.double() for name, values in metrics.items()}
        return EvaluationResult(curves, kind.pooled(totals), answers, classes, sources, trivial)

    def curves(self, phi: MetaParameters, tasks: TaskBatch, whole: bool) -> Curve:
        """The learner's curves on a batch of tasks (`Learner.curve`); where memory runs out, on halves of it."""

        def computed(at_once: int) -> Curve:
            parts = []
            for part in chunks(tasks, at_once):
                draws = self.learner.draws(part, testing=True, progress=1.0)
                parts.append(self._curves[whole](phi, part, draws))
            joined: Curve = tree_map(lambda *leaves: torch.cat(leaves), *parts)
            return joined

        with torch.no_grad():
            curves, self._at_once = as_memory_allows(computed, self._at_once)
        return curves


def _curves(learner: Learner, whole: bool, compiled: bool) -> Callable[[MetaParameters, TaskBatch, Draws], Curve]:
    curves = over_tasks(partial(learner.curve, whole=whole))
    return compiled_whole(curves) if compiled else curves


def task_numbers(sources: Tensor) -> list[int]:
    """A number for the task of each episode: its source ``[episodes]``, or the episode's own where none has any.

    Where only some have, the others get negative numbers, so that they are mistaken for none of these.
    """
    known: list[int] = sources.tolist()
    if max(known, default=-1) < 0:
        return list(range(len(known)))
    return [source if source >= 0 else -1 - place for place, source in enumerate(known)]


def half_width(values: Tensor, tasks: Sequence[int] | None = None) -> float:
    """Half-width of the 95 % Student-t interval for the mean of ``values`` ``[n]``, clustered by task.

    ``tasks``: of each value; ``None``: each is its own. NaN where there is no interval (`clustered_mean`).
    """
    found = clustered_mean(values.tolist(), tasks).half
    return nan if found is None else found
