"""Conditional neural processes (Garnelo et al. 2018, "Conditional neural processes")."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metarun.algorithms.on_features import OnFeatures, SupportFeatures
from metarun.core.errors import UserError
from metarun.core.fields import number
from metarun.core.kinds import TaskKind
from metarun.datasets.base import Problem
from metarun.models.base import Parameters, TaskModel


@dataclass(kw_only=True)
class CNP(OnFeatures):
    """ŷ = g(f(x̂), r), r the mean of h(f(x_i), y_i) over the support set (equations 1 to 3).

    Of classification, the logit of class k is g(f(x̂), r_k), r_k the mean of h(f(x_i)) over the support examples of that
    class. encoder: units of h's layers, the last of which is r's width. decoder: of g's hidden layers.
    """

    encoder: list[int] = number(least=1, most=1_000_000)
    decoder: list[int] = number(least=1, most=1_000_000)

    def __post_init__(self) -> None:
        if not self.encoder:
            raise UserError("algorithm.encoder=[]: give at least one layer, as in [128,128]")

    def network(self, features: int, problem: Problem) -> nn.Module:
        return Process(features, problem.kind, self.encoder, self.decoder)

    def answer(self, model: TaskModel, params: Parameters, support: SupportFeatures, queries: Tensor) -> Tensor:
        prediction: Tensor = functional_call(model.algorithm_network, params, (support, queries))
        return prediction


class Process(nn.Module):
    """h and g. Where labels are classes, each class has its own r, and all classes have one h and g."""

    def __init__(self, features: int, kind: TaskKind, encoder: list[int], decoder: list[int]) -> None:
        super().__init__()
        self.by_class = kind.by_class
        self.encoder = layers([features if self.by_class else features + kind.targets, *encoder])
        self.decoder = layers([features + encoder[-1], *decoder, 1 if self.by_class else kind.outputs])

    def forward(self, support: SupportFeatures, queries: Tensor) -> Tensor:
        """Predictions ``[q, outputs]`` from the support set and features of the queries."""
        summary = self.summary(support)
        asked = queries[:, None].expand(-1, len(summary), -1)
        return self.decoder(torch.cat((asked, summary.expand(len(queries), -1, -1)), -1)).flatten(1)

    def summary(self, support: SupportFeatures) -> Tensor:
        """r ``[1, width]``; or of each class, zeros for one that the support set lacks, ``[ways, width]``."""
        features, labels, mask = support
        members = labels if self.by_class else mask
        encoded = self.encoder(features if self.by_class else torch.cat((features, labels), 1))
        return members.T @ encoded / members.sum(0)[:, None].clamp(min=1)


def layers(sizes: list[int]) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    linear = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    return nn.Sequential(*[part for layer in linear for part in (layer, nn.ReLU())][:-1])
