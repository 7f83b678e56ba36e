"""MetaOptNet (Lee, Maji, Ravichandran & Soatto 2019, "Meta-learning with differentiable convex optimization")."""

from dataclasses import dataclass

from torch import Tensor

from metarun.algorithms.closed_form import ClosedForm, ridge, start
from metarun.algorithms.on_features import SupportFeatures
from metarun.algorithms.support_vectors import crammer_singer
from metarun.core.errors import UserError
from metarun.core.fields import choice, number
from metarun.core.kinds import TaskKind
from metarun.datasets.base import Problem
from metarun.models.base import Parameters


@dataclass(kw_only=True)
class MetaOpt(ClosedForm):
    """A linear classifier on the features, without an intercept: a support vector machine, or ridge regression.

    λ is not learned. solver_steps: of the quadratic program that a support vector machine is.
    """

    head: str = choice("svm", "ridge")
    solver_steps: int = number(least=1)

    def check(self, problem: Problem) -> None:
        if self.head == "svm" and not problem.kind.by_class:
            raise UserError(
                f"algorithm.head=svm: a support vector machine separates classes, and dataset={problem.name} has "
                "targets; use algorithm.head=ridge"
            )

    def weight(self, params: Parameters, kind: TaskKind) -> float:
        return self.penalty or start(kind).penalty

    def scores(self, support: SupportFeatures, penalty: float | Tensor, queries: Tensor) -> Tensor:
        if self.head == "svm":
            return queries @ support.features.T @ crammer_singer(support, penalty, self.solver_steps)
        return queries @ ridge(support, penalty)
