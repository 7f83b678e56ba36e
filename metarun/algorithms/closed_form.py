"""Heads fitted anew to every task's support features, by a solver that the outer loop differentiates through."""

from abc import abstractmethod
from dataclasses import dataclass
from math import log
from typing import NamedTuple

import torch
from torch import Tensor

from metarun.algorithms.on_features import OnFeatures, SupportFeatures
from metarun.core.fields import number
from metarun.core.kinds import Classification, TaskKind
from metarun.datasets.base import Problem
from metarun.models.base import Parameters, TaskModel


class Start(NamedTuple):
    """Where λ and α are at first."""

    penalty: float
    scale: float


FOR_CLASSES, FOR_TARGETS = Start(1.0, 10.0), Start(0.001, 1.0)
RELATIVE_JITTER = 100
"""In machine epsilons of the trace: keeps systems with equal rows solvable, whatever λ an outer loop arrives at."""


@dataclass(kw_only=True)
class ClosedForm(OnFeatures):
    """Predictions are α z W for the features z of a query, with W the solution of a convex problem on the support set.

    penalty: λ, what ‖W‖² weighs beside the mean loss of the support set; a mean, so that it means the same however many
    examples there are. scale: where α starts, which the outer loop learns as log α. Where they are ``None``, they
    start as the kind of task needs: `FOR_CLASSES`, `FOR_TARGETS`.
    """

    penalty: float | None = number(above=0)
    scale: float | None = number(above=0)

    @abstractmethod
    def scores(self, support: SupportFeatures, penalty: float | Tensor, queries: Tensor) -> Tensor:
        """z W ``[q, outputs]`` for the features of queries ``[q, features]``, with λ."""

    def parameters(self, theta: Parameters, problem: Problem) -> Parameters:
        scale = self.scale or start(problem.kind).scale
        return {"log_scale": next(iter(theta.values())).new_tensor(log(scale))}

    @abstractmethod
    def weight(self, own: Parameters, kind: TaskKind) -> float | Tensor:
        """λ."""

    def answer(self, model: TaskModel, own: Parameters, support: SupportFeatures, queries: Tensor) -> Tensor:
        return own["log_scale"].exp() * self.scores(support, self.weight(own, model.kind), queries)


def start(kind: TaskKind) -> Start:
    """Where λ and α are at first, unless that is given."""
    return FOR_CLASSES if isinstance(kind, Classification) else FOR_TARGETS


def ridge(support: SupportFeatures, penalty: float | Tensor) -> Tensor:
    """The W ``[features, outputs]`` that minimizes mean ‖zW − y‖² + λ‖W‖².

    (ZᵀZ/n + λI)⁻¹ ZᵀY/n, or where features are more than rows the same by Woodbury's identity, Zᵀ (ZZᵀ/n + λI)⁻¹ Y/n.
    """
    root = support.real.sum().sqrt()
    z, y = support.features / root, support.labels / root
    by_rows = len(z) <= z.shape[1]
    gram = z @ z.T if by_rows else z.T @ z
    held = penalty + RELATIVE_JITTER * torch.finfo(z.dtype).eps * z.square().sum()
    system = gram + held * torch.eye(len(gram), dtype=z.dtype, device=z.device)
    # Unchecked: features that are not finite shall make predictions that are not, which the engine reports.
    if by_rows:
        return z.T @ torch.linalg.solve_ex(system, y).result
    return torch.linalg.solve_ex(system, z.T @ y).result
