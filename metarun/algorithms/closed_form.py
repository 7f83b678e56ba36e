"""Heads that are fitted to the support features of each task by a differentiable solver."""

from abc import abstractmethod
from dataclasses import dataclass
from math import log
from typing import NamedTuple

import torch
from torch import Tensor

from metarun.algorithms.on_features import OnFeatures, SupportFeatures
from metarun.core.fields import number
from metarun.core.kinds import TaskKind
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
    examples there are. scale: where α starts, which the outer loop learns as log α. Where they are ``None``, they start
    as the kind of task needs: `FOR_CLASSES`, `FOR_TARGETS`.

    A variance, where one is predicted, is that of Bayesian linear regression: the noise, learned as log_noise, times
    one plus the leverage of the query (Harrison, Sharma & Pavone 2018, "Meta-learning priors for efficient online
    Bayesian regression").
    """

    penalty: float | None = number(above=0)
    scale: float | None = number(above=0)

    def design(self, support: SupportFeatures, queries: Tensor) -> tuple[SupportFeatures, Tensor]:
        """The features that W is fitted to and those that it is applied to."""
        return support, queries

    @abstractmethod
    def scores(self, support: SupportFeatures, penalty: float | Tensor, queries: Tensor) -> Tensor:
        """z W ``[q, targets]`` for what `design` makes of support set and queries, with λ."""

    def parameters(self, theta: Parameters, problem: Problem) -> Parameters:
        scale = next(iter(theta.values())).new_tensor(log(self.scale or start(problem.kind).scale))
        if not problem.kind.predicts_variance:
            return {"log_scale": scale}
        return {"log_scale": scale, "log_noise": scale.new_zeros(problem.kind.targets)}

    @abstractmethod
    def weight(self, params: Parameters, kind: TaskKind) -> float | Tensor:
        """λ."""

    def answer(self, model: TaskModel, params: Parameters, support: SupportFeatures, queries: Tensor) -> Tensor:
        penalty = self.weight(params, model.kind)
        support, queries = self.design(support, queries)
        mean = self.mean(params, self.scores(support, penalty, queries))
        if not model.kind.predicts_variance:
            return mean
        return model.kind.joined(mean, params["log_noise"] + leverages(support, penalty, queries).log1p()[:, None])

    def mean(self, params: Parameters, scores: Tensor) -> Tensor:
        """The prediction that z W ``[q, targets]`` makes."""
        return params["log_scale"].exp() * scores


def start(kind: TaskKind) -> Start:
    """Where λ and α are at first, unless that is given."""
    return FOR_CLASSES if kind.by_class else FOR_TARGETS


def ridge(support: SupportFeatures, penalty: float | Tensor) -> Tensor:
    """The W ``[features, outputs]`` that minimizes mean ‖zW − y‖² + λ‖W‖².

    (ZᵀZ/n + λI)⁻¹ ZᵀY/n, or where features are more than rows the same by Woodbury's identity, Zᵀ (ZZᵀ/n + λI)⁻¹ Y/n.
    """
    by_rows, gram, z, y = _system(support, penalty)
    # Unchecked: non-finite features lead to non-finite predictions, which the engine reports.
    if by_rows:
        return z.T @ torch.linalg.solve_ex(gram, y).result
    return torch.linalg.solve_ex(gram, z.T @ y).result


def leverages(support: SupportFeatures, penalty: float | Tensor, queries: Tensor) -> Tensor:
    """zᵀ (ZᵀZ + nλI)⁻¹ z of queries z, ``[q]``: what the fit leaves uncertain at z, in variances of the noise.

    By rows as zᵀz − zᵀAᵀ (AAᵀ + λI)⁻¹ A z over nλ, with A = Z/√n.
    """
    by_rows, gram, z, _ = _system(support, penalty)
    count = support.mask.sum()
    if not by_rows:
        return (queries * torch.linalg.solve_ex(gram, queries.T).result.T).sum(1) / count
    seen = queries @ z.T
    known = (seen * torch.linalg.solve_ex(gram, seen.T).result.T).sum(1)
    return (queries.square().sum(1) - known).clamp(min=0) / (count * _held(z, penalty))


def _system(support: SupportFeatures, penalty: float | Tensor) -> tuple[bool, Tensor, Tensor, Tensor]:
    """Whether the smaller system is that of the rows, its matrix, and features and labels divided by √n."""
    root = support.mask.sum().sqrt()
    z, y = support.features / root, support.labels / root
    by_rows = len(z) <= z.shape[1]
    gram = z @ z.T if by_rows else z.T @ z
    return by_rows, gram + _held(z, penalty) * torch.eye(len(gram), dtype=z.dtype, device=z.device), z, y


def _held(z: Tensor, penalty: float | Tensor) -> float | Tensor:
    """λ, and as much more as keeps the system solvable."""
    return penalty + RELATIVE_JITTER * torch.finfo(z.dtype).eps * z.square().sum()
