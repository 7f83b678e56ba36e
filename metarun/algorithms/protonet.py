"""Prototypical networks (Snell, Swersky & Zemel 2017, "Prototypical networks for few-shot learning")."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metarun.algorithms.on_features import OnFeatures, SupportFeatures
from metarun.core.kinds import Classification, TaskKind
from metarun.models.base import Parameters, TaskModel


@dataclass(kw_only=True)
class ProtoNet(OnFeatures):
    """Logits are −‖f(x) − c_k‖², c_k the mean feature vector of class k's support examples (equations 1 and 2)."""

    kinds: ClassVar[tuple[type[TaskKind], ...]] = (Classification,)
    because: ClassVar[str] = ", since it takes the mean of each class"

    def answer(self, model: TaskModel, params: Parameters, support: SupportFeatures, queries: Tensor) -> Tensor:
        return by_centroids(support, queries)


def by_centroids(support: SupportFeatures, queries: Tensor) -> Tensor:
    """−‖f(x) − c_k‖² ``[q, ways]`` for the features of queries ``[q, features]``, c_k as in `ProtoNet`."""
    features, members, _ = support
    count = members.sum(0)[:, None]
    # A class that the support set lacks is taken to be at the mean of all of it.
    middle = members.sum(1) @ features / count.sum()
    prototypes = torch.where(count > 0, members.T @ features / count.clamp(min=1), middle)
    return -(queries[:, None] - prototypes[None]).square().sum(-1)
