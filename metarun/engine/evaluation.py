"""Measuring a learner on fixed episodes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import nan

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_map

from metarun.algorithms.base import Draws
from metarun.datasets.base import Dataset
from metarun.engine.footprint import as_memory_allows
from metarun.engine.fusion import compiled_whole
from metarun.engine.processes import ALONE, Processes
from metarun.learner import Curve, Learner, MetaParameters
from metarun.student import quantile
from metarun.tasks import TaskBatch, chunks

EPISODES_AT_ONCE = 32


@dataclass(frozen=True)
class Episodes:
    """Metrics of single episodes, float64 on CPU.

    curves: ``[episodes, steps + 1]`` each, before and after every inner step; or ``[episodes, 1]``, after the last
    alone. pooled: figures over the examples of all episodes together, after the last. answers: what queries were and
    what they were taken for, int64 ``[episodes, q]`` (`TaskKind.answers`). classes: what the labels stand for, int64
    ``[episodes, ways]``, or ``[episodes, 0]`` (`Task.classes`).
    """

    curves: dict[str, Tensor]
    pooled: dict[str, float] = field(default_factory=dict)
    answers: dict[str, Tensor] = field(default_factory=dict)
    classes: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.int64))

    @property
    def count(self) -> int:
        return len(next(iter(self.curves.values())))

    def final(self, metric: str) -> Tensor:
        """The metric after the last inner step, ``[episodes]``."""
        return self.curves[metric][:, -1]

    def mean(self, metric: str) -> float:
        return self.final(metric).mean().item()

    def summary(self) -> dict[str, dict[str, float | int]]:
        """For every metric after adaptation: mean, half-width of the 95 % interval over episodes, episodes."""
        return {
            metric: {"mean": self.mean(metric), "ci95": half_width(self.final(metric)), "episodes": self.count}
            for metric in self.curves
        }

    def adaptation(self) -> dict[str, dict[str, list[float]]]:
        """The adaptation curves: mean and half-width at each of the ``steps + 1`` points."""
        return {
            metric: {
                "mean": curve.mean(0).tolist(),
                "ci95": [half_width(curve[:, point]) for point in range(curve.shape[1])],
            }
            for metric, curve in self.curves.items()
        }


def episodes_of(dataset: Dataset, stream: str, asked: int, group: int | None = None) -> int:
    """How many episodes to measure: those asked for, but none that would come again exactly alike."""
    return min(asked, dataset.distinct(stream, group) or asked)


class Evaluator:
    """Adapts a learner to episodes and measures it, ``chunk`` episodes at once; ``None``: `EPISODES_AT_ONCE`.

    compiled: whether `torch.compile` fuses the computation. Several ``processes`` take chunks in turn, and each gets
    what one alone would.
    """

    def __init__(
        self, learner: Learner, chunk: int | None = None, compiled: bool = False, processes: Processes = ALONE
    ) -> None:
        self.learner, self.compiled, self.processes = learner, compiled, processes
        self.chunk = self._at_once = chunk or EPISODES_AT_ONCE
        self._curves = {whole: _curves(learner, whole, compiled) for whole in (False, True)}

    def __call__(
        self,
        phi: MetaParameters,
        dataset: Dataset,
        stream: str,
        episodes: int,
        whole_curve: bool = True,
        progress: Callable[[int], object] = lambda done: None,
        group: int | None = None,
    ) -> Episodes:
        """Measure the first ``episodes`` episodes of a stream; φ stays as it is.

        Fewer where the stream has no more that differ: episodes told twice would only make an interval look narrow.
        A ``whole_curve`` takes a prediction at every inner step, which often costs more than the steps. ``progress`` is
        told how many episodes are done. With ``group`` all tasks are of that group of the dataset's.
        """
        processes = self.processes
        episodes = episodes_of(dataset, stream, episodes, group)
        size = min(self.chunk, episodes)
        parts: list[tuple[Curve, Tensor]] = []
        for first in processes.own(range(0, episodes, size)):
            batch = dataset.sample(stream, first // size, size, group)
            parts.append((self.curves(phi, batch, whole_curve), batch.classes))
            progress(min(first + size * processes.count, episodes))
        parts = processes.gathered(parts, -(-episodes // size))
        measured: tuple[Curve, Tensor] = tree_map(lambda *leaves: torch.cat(leaves)[:episodes].cpu(), *parts)
        (metrics, totals, answers), classes = measured
        sums = {name: values.double().sum().item() for name, values in totals.items()}
        curves = {name: values.double() for name, values in metrics.items()}
        return Episodes(curves, dataset.kind(stream).pooled(sums), answers, classes)

    def curves(self, phi: MetaParameters, tasks: TaskBatch, whole: bool) -> Curve:
        """The learner's curves on a batch of tasks (`Learner.curve`); where memory runs out, on halves of it."""

        def computed(at_once: int) -> Curve:
            parts = []
            for part in chunks(tasks, at_once):
                draws = self.learner.algorithm.draws(part, testing=True, progress=1.0)
                parts.append(self._curves[whole](phi, part, draws))
            joined: Curve = tree_map(lambda *leaves: torch.cat(leaves), *parts)
            return joined

        with torch.no_grad():
            curves, self._at_once = as_memory_allows(computed, self._at_once)
        return curves


def _curves(learner: Learner, whole: bool, compiled: bool) -> Callable[[MetaParameters, TaskBatch, Draws], Curve]:
    curves = vmap(partial(learner.curve, whole=whole), in_dims=(None, 0, 0))
    return compiled_whole(curves) if compiled else curves


def half_width(values: Tensor) -> float:
    """Half-width of the 95 % Student-t interval for the mean of ``values`` ``[n]``; NaN for a single one."""
    n = len(values)
    if n < 2:
        return nan
    return quantile(n - 1) * values.std().item() / n**0.5
