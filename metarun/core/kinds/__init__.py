"""Kinds of task, by the names under which checkpoints and configurations know them."""

from metarun.core.errors import UserError
from metarun.core.kinds.base import TaskKind
from metarun.core.kinds.classification import Classification
from metarun.core.kinds.gaussian import Gaussian
from metarun.core.kinds.regression import Regression


def with_likelihood(kind: TaskKind, likelihood: str) -> TaskKind:
    """The kind of tasks with the labels of ``kind``, predicted by this likelihood.

    Raises `UserError` where labels cannot have it.
    """
    if likelihood == Gaussian.likelihood and type(kind) is Regression:
        return Gaussian(kind.dimensions)
    if likelihood == kind.likelihood:
        return kind
    raise UserError(
        f"likelihood={likelihood}: the tasks are {kind.name}, which takes "
        f"{' or '.join(other.likelihood for other in KINDS.values() if other.by_class == kind.by_class)}"
    )


KINDS: dict[str, type[TaskKind]] = {kind.name: kind for kind in (Classification, Regression, Gaussian)}

__all__ = ["KINDS", "Classification", "Gaussian", "Regression", "TaskKind", "with_likelihood"]
