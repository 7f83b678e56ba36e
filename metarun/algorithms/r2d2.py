"""R2-D2 (Bertinetto, Henriques, Torr & Vedaldi 2019, "Meta-learning with differentiable closed-form solvers")."""

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from metarun.algorithms.closed_form import ClosedForm, ridge, start
from metarun.algorithms.on_features import SupportFeatures
from metarun.core.kinds import TaskKind
from metarun.datasets.base import Problem
from metarun.models.base import Parameters


@dataclass(kw_only=True)
class R2D2(ClosedForm):
    """Ridge regression on the features and a constant one (section 3.2), also of classes, as one-hot targets.

    λ is learned as log λ. Predictions of targets get a bias β as well; a softmax would not see one.
    """

    def parameters(self, theta: Parameters, problem: Problem) -> Parameters:
        params = super().parameters(theta, problem)
        params["log_penalty"] = torch.full_like(params["log_scale"], log(self.penalty or start(problem.kind).penalty))
        if not problem.kind.by_class:
            params["bias"] = torch.zeros_like(params["log_scale"])
        return params

    def weight(self, params: Parameters, kind: TaskKind) -> Tensor:
        return params["log_penalty"].exp()

    def design(self, support: SupportFeatures, queries: Tensor) -> tuple[SupportFeatures, Tensor]:
        one = torch.ones_like(queries[:, :1])
        return support._replace(features=torch.cat((support.features, support.mask), 1)), torch.cat((queries, one), 1)

    def scores(self, support: SupportFeatures, penalty: float | Tensor, queries: Tensor) -> Tensor:
        return queries @ ridge(support, penalty)

    def mean(self, params: Parameters, scores: Tensor) -> Tensor:
        mean = super().mean(params, scores)
        return mean + params["bias"] if "bias" in params else mean
