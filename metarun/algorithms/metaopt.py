"""MetaOptNet (Lee, Maji, Ravichandran & Soatto 2019, "Meta-learning with differentiable convex optimization")."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from metarun.algorithms.closed_form import ClosedForm, SupportFeatures, ridge, start
from metarun.algorithms.support_vectors import crammer_singer
from metarun.config.fields import choice, number
from metarun.kinds import Classification, Regression, TaskKind
from metarun.models.base import Parameters


@dataclass(kw_only=True)
class MetaOpt(ClosedForm):
    """A linear classifier on the features, without an intercept: a support vector machine, or ridge regression.

    λ is not learned. solver_steps: of the quadratic program that a support vector machine is.
    """

    head: str = choice("svm", "ridge")
    solver_steps: int = number(least=1)

    because: ClassVar[str] = ", since a support vector machine separates classes (algorithm.head=ridge fits targets)"

    @property
    def kinds(self) -> tuple[type, ...]:  # type: ignore[override]
        return (Classification,) if self.head == "svm" else (Classification, Regression)

    def weight(self, own: Parameters, kind: TaskKind) -> float:
        return self.penalty or start(kind).penalty

    def scores(self, support: SupportFeatures, penalty: float | Tensor, queries: Tensor) -> Tensor:
        if self.head == "svm":
            return queries @ support.features.T @ crammer_singer(support, penalty, self.solver_steps)
        return queries @ ridge(support, penalty)
