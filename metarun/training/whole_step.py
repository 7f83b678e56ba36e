"""Meta-updates as one CUDA graph each, from sampling tasks to moving φ."""

import logging
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from metarun.algorithms.base import Learned
from metarun.datasets.base import Sampler
from metarun.engine.compile.recording import Recorded, agree
from metarun.engine.meta_gradient import MetaGradient, Metrics
from metarun.learner.learner import MetaParameters
from metarun.training.outer_optimizer import OuterOptimizer, meta_update

log = logging.getLogger(__name__)

R = TypeVar("R")

FAR = 1_000_003
"""How many meta-updates ahead the recording is compared with what was recorded."""


class WholeStep:
    """``(step, lr) → (metrics, gradient norm)``: a meta-update of φ, in place, on ``tasks`` tasks of ``source``.

    Only for what depends on the number of the meta-update and the outer step size alone: no annealing, no choice of
    tasks, no groups. ``meta_gradient`` must not be recorded by itself.
    """

    def __init__(
        self,
        algorithm: Learned,
        phi: MetaParameters,
        source: Sampler,
        tasks: int,
        meta_gradient: MetaGradient,
        optimizer: OuterOptimizer,
    ) -> None:
        self._algorithm, self._phi, self._source, self._tasks = algorithm, phi, source, tasks
        self._meta_gradient, self._optimizer = meta_gradient, optimizer
        self._names: tuple[str, ...] = ()
        self._recorded = Recorded(self._update)

    def __call__(self, step: int, lr: float) -> tuple[Metrics, Tensor]:
        """Meta-update ``step`` (from 0)."""
        device = self._optimizer.frozen.device
        number = torch.full((), step, dtype=torch.int64, device=device)
        size = torch.full((), lr, dtype=torch.float32, device=device)
        *values, norm = self._recorded(number, size).unbind()
        return dict(zip(self._names, values, strict=True)), norm

    def trusted(self, step: int, lr: float) -> bool:
        """Record, and return whether the recording is correct for another step and step size; φ does not change."""

        def far(update: Callable[[], R]) -> tuple[R, Tensor]:
            before = torch.cat([tensor.flatten() for tensor in tree_leaves(self._phi)])
            told = update()
            after = torch.cat([tensor.flatten() for tensor in tree_leaves(self._phi)])
            return told, (after - before).norm()

        try:
            self._keeping(lambda: self(step, lr))
        except torch.OutOfMemoryError:  # the meta-gradient alone may fit, in smaller chunks
            return False
        if self._recorded.failed:
            return False
        found = self._keeping(lambda: far(lambda: self(step + FAR, lr / 2)))
        wanted = self._keeping(lambda: far(lambda: self._made(step + FAR, lr / 2)))
        if agree(found, wanted):
            return True
        log.info("the CUDA graph of a meta-update differs from the recorded one: continuing without it")
        return False

    def _made(self, step: int, lr: float) -> tuple[Metrics, Tensor]:
        """The same without a graph."""
        *values, norm = self._update(step, lr).unbind()
        return dict(zip(self._names, values, strict=True)), norm

    def _update(self, step: int | Tensor, lr: float | Tensor) -> Tensor:
        """The metrics, in the order of ``_names``, and the norm."""
        batch = self._source.sample("train", step, self._tasks)  # type: ignore[arg-type]  # arithmetic is all it does
        gradient, metrics = self._algorithm.outer_gradient(lambda phi: self._meta_gradient(phi, batch), self._phi)
        norm = meta_update(self._algorithm, self._phi, self._optimizer, gradient, metrics, lr)
        self._names = tuple(metrics)
        return torch.stack([value.to(norm.dtype) for value in (*metrics.values(), norm)])

    def _keeping(self, computation: Callable[[], R]) -> R:
        """Compute, and leave φ and the optimizer as they were."""
        state = [*tree_leaves(self._phi), *self._optimizer.tensors()]
        before = [tensor.clone() for tensor in state]
        try:
            return computation()
        finally:
            torch._foreach_copy_(state, before)
