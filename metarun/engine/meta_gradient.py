"""The gradient of φ over a meta-batch: the one place that batches tasks."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap
from torch.utils._pytree import tree_map

from metarun.algorithms.base import Draws
from metarun.learner import Learner, MetaParameters
from metarun.tasks import TaskBatch

Metrics = dict[str, Tensor]


class MetaGradient:
    """``(φ, batch) → (∇φ of the mean objective, mean metrics)``, with tasks batched by `torch.func.vmap`.

    chunk: tasks computed at once; memory grows with it, the result does not depend on it but for rounding.
    compiled: whether `torch.compile` fuses the whole computation.
    progress: the share of meta-training done. weights: what each task counts in the means, ``[T]`` with mean 1;
    ``None``: all alike.
    """

    def __init__(self, learner: Learner, chunk: int | None, compiled: bool) -> None:
        self.chunk = chunk
        objective = vmap(learner.objective, in_dims=(None, 0, 0))
        self.algorithm = learner.algorithm

        def total(phi: MetaParameters, tasks: TaskBatch, draws: Draws, weights: Tensor) -> tuple[Tensor, Metrics]:
            objectives, metrics = objective(phi, tasks, draws)
            # Of equal weights each is exactly 1, and changes no bit.
            return (weights * objectives).sum(), {name: (weights * values).sum() for name, values in metrics.items()}

        self.gradient = grad_and_value(total, has_aux=True)
        if compiled:
            # Inductor would lay grouped convolutions out channels-last, which makes them ten times slower on CPUs.
            self.gradient = torch.compile(
                self.gradient, dynamic=False, fullgraph=True, options={"layout_optimization": False}
            )

    def __call__(
        self, phi: MetaParameters, batch: TaskBatch, progress: float = 0.0, weights: Tensor | None = None
    ) -> tuple[MetaParameters, Metrics]:
        size = len(batch.number)
        shares = batch.descriptor.new_ones(size) if weights is None else weights.to(batch.descriptor)
        total: tuple[MetaParameters, Metrics] | None = None
        for tasks, share in zip(chunks(batch, self.chunk), shares.split(self.chunk or size), strict=True):
            draws = self.algorithm.draws(tasks, testing=False, progress=progress)
            gradient, (_, metrics) = self.gradient(phi, tasks, draws, share)
            part = (gradient, metrics)
            total = part if total is None else tree_map(torch.add, total, part)
        return tree_map(lambda tensor: tensor / size, total)


def chunks(batch: TaskBatch, size: int | None) -> Iterator[TaskBatch]:
    """The batch in pieces of at most ``size`` tasks; ``None``: whole."""
    tasks = len(batch.number)
    size = size or tasks
    for first in range(0, tasks, size):
        yield tree_map(lambda tensor, first=first: tensor[first : first + size], batch)
