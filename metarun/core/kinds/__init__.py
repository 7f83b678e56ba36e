"""Kinds of task, by the names under which checkpoints and configurations know them."""

from metarun.core.kinds.base import TaskKind
from metarun.core.kinds.classification import Classification
from metarun.core.kinds.gaussian import Gaussian
from metarun.core.kinds.regression import Regression


def with_likelihood(kind: TaskKind, likelihood: str) -> TaskKind:
    """The kind with the labels of ``kind`` and this likelihood, or ``kind`` itself if they cannot have it."""
    return Gaussian(kind.dimensions) if likelihood == "gaussian" and type(kind) is Regression else kind


def likelihoods(kind: TaskKind) -> list[str]:
    """The likelihoods that the labels of ``kind`` can have."""
    names = [other.likelihood for other in KINDS.values()]
    return [name for name in names if with_likelihood(kind, name).likelihood == name]


KINDS: dict[str, type[TaskKind]] = {kind.name: kind for kind in (Classification, Regression, Gaussian)}
"""The registry. A user-defined kind is added by its module."""

__all__ = ["KINDS", "Classification", "Gaussian", "Regression", "TaskKind", "likelihoods", "with_likelihood"]
