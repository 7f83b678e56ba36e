"""The interface of task embeddings e_t."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from metarun.core.tasks import AnyExamples
from metarun.datasets.base import Problem
from metarun.models.base import TaskModel

Fit = Callable[[Tensor], Tensor]
"""The loss on the support set at θ_t⁰ = f(φ, e) for a task embedding e ``[size]``, with constant φ."""


class EmbeddingInputs(NamedTuple):
    """The inputs of an embedding: everything of one task except its queries.

    support: the support set. labels: its labels as vectors ``[s, outputs]`` (`TaskKind.encode_labels`). identity and
    descriptor: as in `metarun.core.tasks.Task`.
    """

    support: AnyExamples
    labels: Tensor
    identity: Tensor
    descriptor: Tensor


class Embedding(nn.Module):
    """The module of an embedding, called for one task."""

    frozen: frozenset[str] = frozenset()
    """Names of frozen parameters."""

    def forward(self, seen: EmbeddingInputs, fit: Fit, testing: bool) -> Tensor:
        """e_t ``[size]``. ``testing``: whether φ is frozen and the task may be new."""
        raise NotImplementedError


class EmbeddingConfig(Protocol):
    """The keys of a ``conf/embedding/*.yaml`` file."""

    size: int
    """Size of e_t; 0: no embedding."""
    reads_labels: bool
    """Whether it uses labels, so that training tasks must have as many classes as test tasks."""
    knows_tasks: bool
    """Whether it has state for each known task, so that a checkpoint is for these tasks only."""

    def build(self, problem: Problem, model: TaskModel) -> Embedding:
        """An embedding for a problem's tasks and a task model. Raises `UserError` if it does not fit them."""
        ...
