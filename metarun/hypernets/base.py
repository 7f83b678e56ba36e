"""Hypernetworks: from a task embedding to where the task starts, θ_t⁰ = f(φ, e_t)."""

from typing import Protocol

from torch import Tensor, nn

from metarun.models.base import Parameters


class Hypernet(Protocol):
    """A built hypernetwork: an `nn.Module` with these two."""

    uses_theta: bool
    """Whether θ₀ is part of φ, or all of θ is generated."""

    def __call__(self, theta: Parameters, embedding: Tensor) -> Parameters:
        """θ_t⁰ for e_t ``[size]``; ``theta`` is θ₀, or empty."""
        ...


class HypernetConfig(Protocol):
    """The keys of a ``conf/hypernet/*.yaml`` file."""

    needs_embedding: bool

    def build(self, embedding_size: int, theta: Parameters) -> nn.Module:
        """A `Hypernet` for parameters shaped like ``theta``, which are also an ordinary initialisation."""
        ...
