"""The interface of hypernetworks: from a task embedding to the initialization of the task, θ_t⁰ = f(φ, e_t)."""

from typing import Protocol

from torch import Tensor, nn

from metarun.models.base import Parameters


class Hypernet(nn.Module):
    """The module of a hypernetwork, called with θ₀ and e_t."""

    shared: frozenset[str]
    """Names of the tensors of θ₀ that it uses and that are therefore part of φ; the others are generated entirely."""
    generated: frozenset[str]
    """Names of the tensors of θ_t⁰ that depend on the task."""

    def draw(self, seed: int) -> None:
        """Draw random numbers other than parameters, from counters keyed by the run's ``seed``; called once."""
        return

    def forward(self, theta: Parameters, embedding: Tensor) -> Parameters:
        """All tensors of θ_t⁰ for e_t ``[size]``; ``theta`` contains the ``shared`` tensors of θ₀."""
        raise NotImplementedError


class HypernetConfig(Protocol):
    """The keys of a ``conf/hypernet/*.yaml`` file.

    A config may have a field ``lr_scale`` too: a factor on the outer step size for the hypernetwork's own parameters.
    """

    needs_embedding: bool

    def build(self, embedding_size: int, theta: Parameters) -> Hypernet:
        """A hypernetwork for parameters shaped like ``theta``, which are also an ordinary initialization."""
        ...
