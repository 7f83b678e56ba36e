"""Task embeddings: what a task looks like from outside, e_t."""

from typing import Protocol

from torch import nn

from metarun.kinds import TaskKind


class EmbeddingConfig(Protocol):
    """The keys of a ``conf/embedding/*.yaml`` file."""

    size: int
    """Length of e_t; 0 for none."""

    def build(self, input_shape: tuple[int, ...], kind: TaskKind) -> nn.Module:
        """A network whose ``forward(x, y)`` maps a support set, x ``[s, *input_shape]`` and y ``[s, outputs]`` (label
        features of `TaskKind.features`), to e_t ``[size]``."""
        ...
