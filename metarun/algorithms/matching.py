"""Matching networks (Vinyals et al. 2016, "Matching networks for one shot learning")."""

from dataclasses import dataclass
from math import log
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metarun.algorithms.attention import attention
from metarun.algorithms.full_context import FullContext
from metarun.algorithms.on_features import Attending, SupportFeatures
from metarun.core.fields import number
from metarun.core.kinds import Classification, TaskKind
from metarun.datasets.base import Problem
from metarun.models.base import Parameters, TaskModel

SCALE = "log_scale"


@dataclass(kw_only=True)
class Matching(Attending):
    """ŷ = Σ_i a(x̂, x_i) y_i, a the softmax over the support set of the cosine of features (equation 1, section 2.1.1).

    Predictions are the logarithms of these probabilities. The cosine is multiplied by ``scale``, with ``learned_scale``
    only at the start. full_context: features see the support set (section 2.1.2), ``context_steps`` being K there.
    """

    kinds: ClassVar[tuple[type[TaskKind], ...]] = (Classification,)
    because: ClassVar[str] = ", since support examples vote for their classes"
    scale: float = number(above=0)
    learned_scale: bool
    full_context: bool
    context_steps: int = number(least=1)

    def parameters(self, theta: Parameters, problem: Problem) -> Parameters:
        return {SCALE: next(iter(theta.values())).new_tensor(log(self.scale))} if self.learned_scale else {}

    def network(self, features: int, problem: Problem) -> nn.Module:
        return FullContext(features, self.context_steps) if self.full_context else nn.Module()

    def attend(self, model: TaskModel, params: Parameters, support: SupportFeatures, queries: Tensor) -> Tensor:
        features, mask = support.features, support.mask[:, 0]
        if self.full_context:
            features, queries = functional_call(model.algorithm_network, params, (features, queries, mask))
        scale = params[SCALE].exp() if self.learned_scale else self.scale
        return attention(scale * unit(queries) @ unit(features).T, mask)

    def answer(self, model: TaskModel, params: Parameters, support: SupportFeatures, queries: Tensor) -> Tensor:
        share = self.attend(model, params, support, queries) @ support.labels
        # A class that the support set lacks has none, whose logarithm would be infinite.
        return share.clamp(min=torch.finfo(share.dtype).tiny).log()


def unit(vectors: Tensor) -> Tensor:
    """Vectors ``[n, features]`` of length 1; zeros, which point nowhere, stay zeros and have no gradient."""
    square = vectors.square().sum(-1, keepdim=True)
    return vectors * torch.where(square > 0, square, 1).rsqrt() * (square > 0)
