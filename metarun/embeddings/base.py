"""Task embeddings: what a task looks like from outside, e_t."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from metarun.core.tasks import AnyExamples
from metarun.datasets.base import Problem
from metarun.models.base import TaskModel

Fit = Callable[[Tensor], Tensor]
"""How badly a task embedding ``[size]`` would serve: the loss on the support set at θ_t⁰ = f(φ, e), φ held constant."""


class Seen(NamedTuple):
    """What an embedding may look at: of one task, everything but its queries.

    support: the support set. labels: its labels as vectors ``[s, outputs]`` (`TaskKind.features`). identity and
    descriptor: as in `metarun.core.tasks.Task`.
    """

    support: AnyExamples
    labels: Tensor
    identity: Tensor
    descriptor: Tensor


class Embedding(nn.Module):
    """A built embedding: called for one task."""

    held: frozenset[str] = frozenset()
    """Names of its parameters that stay at their start."""

    def forward(self, seen: Seen, fit: Fit, testing: bool) -> Tensor:
        """e_t ``[size]``. ``testing``: whether φ is frozen and the task may be new."""
        raise NotImplementedError


class EmbeddingConfig(Protocol):
    """The keys of a ``conf/embedding/*.yaml`` file."""

    size: int
    """Length of e_t; 0 for none."""
    reads_labels: bool
    """Whether it looks at labels, so that training tasks must have as many classes as test tasks."""
    knows_tasks: bool
    """Whether it keeps something of each known task, so that a checkpoint serves no others."""

    def build(self, problem: Problem, model: TaskModel) -> Embedding:
        """An embedding for a problem's tasks and a task model. Raises `UserError` where it makes no sense."""
        ...
