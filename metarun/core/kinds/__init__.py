"""Kinds of task, by the names under which checkpoints and configurations know them."""

from metarun.core.kinds.base import TaskKind
from metarun.core.kinds.classification import Classification
from metarun.core.kinds.gaussian import Gaussian
from metarun.core.kinds.regression import Regression


def with_likelihood(kind: TaskKind, likelihood: str) -> TaskKind:
    """The kind with the labels of ``kind`` and this likelihood, or ``kind`` itself if they cannot have it."""
    return Gaussian(kind.dimensions) if likelihood == "gaussian" and type(kind) is Regression else kind


def likelihoods(kind: TaskKind) -> list[str]:
    """Those that the labels of ``kind`` can have."""
    return [other.likelihood for other in KINDS.values() if other.by_class == kind.by_class]


KINDS: dict[str, type[TaskKind]] = {kind.name: kind for kind in (Classification, Regression, Gaussian)}

__all__ = ["KINDS", "Classification", "Gaussian", "Regression", "TaskKind", "likelihoods", "with_likelihood"]
