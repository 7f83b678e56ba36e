"""The gradient of φ over a meta-batch, and what φ is to remember of it: the one place that batches tasks."""

import copy

import torch
from torch import Tensor
from torch.func import grad_and_value
from torch.utils._pytree import tree_map

from metarun.algorithms.base import Draws
from metarun.core.tasks import TaskBatch, chunks
from metarun.engine.compile.fusion import compiled_whole
from metarun.engine.compile.recording import Recorded
from metarun.engine.memory_estimate import as_memory_allows
from metarun.engine.over_tasks import over_tasks
from metarun.learner.learner import Learner, MetaParameters
from metarun.models.base import Parameters
from metarun.models.memory import MEMORY

Metrics = dict[str, Tensor]


class MetaGradient:
    """``(φ, batch) → (∇φ of the mean objective, mean metrics)``, with tasks batched by `over_tasks`.

    The group `MEMORY`, which has no gradient, holds in its place the mean of what the tasks report: what that group of
    φ becomes (`metarun.learner.learner.remember`).

    chunk: tasks computed at once, ``None``: all; memory grows with it, the result does not depend on it but for
    rounding. Where memory runs out, it is halved.
    compiled: whether `torch.compile` fuses the whole computation.
    progress: the share of meta-training done. weights: what each task counts in the means, ``[T]`` with mean 1;
    ``None``: all alike.
    """

    def __init__(self, learner: Learner, chunk: int | None, compiled: bool) -> None:
        self.chunk = chunk
        objective_and_reports = over_tasks(learner.objective_and_reports)
        self.learner = learner

        def part(
            phi: MetaParameters, tasks: TaskBatch, draws: Draws, weights: Tensor, of: Tensor
        ) -> tuple[Tensor, tuple[Metrics, Parameters]]:
            """What these tasks add to the means over ``of`` tasks: divided here, no further pass over φ is needed."""
            objectives, (metrics, reports) = objective_and_reports(phi, tasks, draws)
            return (weights * objectives).sum() / of, (
                {name: (weights * values).sum() / of for name, values in metrics.items()},
                {name: torch.tensordot(weights, values, 1) / of for name, values in reports.items()},
            )

        gradient = grad_and_value(part, has_aux=True)
        self.gradient = compiled_whole(gradient) if compiled else gradient

    def recorded(self) -> "MetaGradient":
        """The same, replayed as a CUDA graph."""
        other = copy.copy(self)
        other.gradient = Recorded(self.gradient)
        return other

    def __call__(
        self, phi: MetaParameters, batch: TaskBatch, progress: float = 0.0, weights: Tensor | None = None
    ) -> tuple[MetaParameters, Metrics]:
        def computed(at_once: int) -> tuple[MetaParameters, Metrics]:
            return self._in_chunks(phi, batch, progress, weights, at_once)

        asked = min(self.chunk or len(batch.number), len(batch.number))
        found, at_once = as_memory_allows(computed, asked)
        if at_once < asked:
            self.chunk = at_once
        return found

    def _in_chunks(
        self, phi: MetaParameters, batch: TaskBatch, progress: float, weights: Tensor | None, at_once: int
    ) -> tuple[MetaParameters, Metrics]:
        size, like = len(batch.number), batch.descriptor
        each = like.new_ones(size) if weights is None else weights.to(like)
        of = like.new_full((), size)
        total: tuple[MetaParameters, Metrics] | None = None
        for first, tasks in zip(range(0, size, at_once), chunks(batch, at_once), strict=True):
            counted = each if at_once >= size else each[first : first + at_once]  # a view takes time, see `chunks`
            draws = self.learner.draws(tasks, testing=False, progress=progress)
            gradient, (_, (metrics, reports)) = self.gradient(phi, tasks, draws, counted, of)
            part = ({**gradient, MEMORY: reports}, metrics)
            total = part if total is None else tree_map(torch.add, total, part)
        assert total is not None
        return total
