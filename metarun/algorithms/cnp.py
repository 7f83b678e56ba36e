"""Conditional neural processes (Garnelo et al. 2018, "Conditional neural processes")."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metarun.algorithms.base import Adapted, Learned
from metarun.config.fields import number
from metarun.datasets.base import Problem
from metarun.errors import UserError
from metarun.kinds import Classification
from metarun.models.base import Parameters, TaskModel
from metarun.tasks import AnyExamples


@dataclass(kw_only=True)
class CNP(Learned):
    """ŷ = g(f(x̂), r), r the mean of h(f(x_i), y_i) over the support set (equations 1 to 3).

    Of classification, the logit of class k is g(f(x̂), r_k), r_k the mean of h(f(x_i)) over the support examples of that
    class. encoder: units of h's layers, the last of which is r's width. decoder: of g's hidden layers.
    """

    needs_head: ClassVar[bool] = False
    encoder: list[int] = number(least=1, most=1_000_000)
    decoder: list[int] = number(least=1, most=1_000_000)

    def __post_init__(self) -> None:
        if not self.encoder:
            raise UserError("algorithm.encoder=[]: its last layer makes r; give at least one, as in [128,128]")

    def network(self, features: int, problem: Problem) -> nn.Module:
        by_class = isinstance(problem.kind, Classification)
        return Process(features, problem.kind.outputs, by_class, self.encoder, self.decoder)

    def predict(
        self,
        model: TaskModel,
        own: Parameters,
        state: Adapted,
        support: AnyExamples,
        x: Tensor,
        real: Tensor | None = None,
    ) -> Tensor:
        features, queries = model.outputs(state.theta, state.running, support, x, real)
        labels = model.kind.features(support.y, features.dtype)
        prediction: Tensor = functional_call(model.own, own, (features, labels, support.real, queries))
        return prediction


class Process(nn.Module):
    """h and g; ``by_class``: each class has its own r, and all classes have one h and g."""

    def __init__(self, features: int, outputs: int, by_class: bool, encoder: list[int], decoder: list[int]) -> None:
        super().__init__()
        self.by_class = by_class
        self.encoder = layers([features if by_class else features + outputs, *encoder])
        self.decoder = layers([features + encoder[-1], *decoder, 1 if by_class else outputs])

    def forward(self, features: Tensor, labels: Tensor, real: Tensor | None, queries: Tensor) -> Tensor:
        """Predictions ``[q, outputs]`` from features and labels of the support set and features of the queries."""
        summary = self.summary(features, labels, real)
        asked = queries[:, None].expand(-1, len(summary), -1)
        return self.decoder(torch.cat((asked, summary.expand(len(queries), -1, -1)), -1)).flatten(1)

    def summary(self, features: Tensor, labels: Tensor, real: Tensor | None) -> Tensor:
        """r ``[1, width]``; or of each class, zeros for one that the support set lacks, ``[ways, width]``."""
        members = labels if self.by_class else torch.ones_like(labels[:, :1])
        if real is not None:
            members = members * real[:, None]
        encoded = self.encoder(features if self.by_class else torch.cat((features, labels), 1))
        return members.T @ encoded / members.sum(0)[:, None].clamp(min=1)


def layers(sizes: list[int]) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    linear = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    return nn.Sequential(*[part for layer in linear for part in (layer, nn.ReLU())][:-1])
