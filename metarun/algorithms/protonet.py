"""Prototypical networks (Snell, Swersky & Zemel 2017, "Prototypical networks for few-shot learning")."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metarun.algorithms.base import Adapted, Learned
from metarun.kinds import Classification
from metarun.models.base import Parameters, TaskModel
from metarun.tasks import AnyExamples


@dataclass(kw_only=True)
class ProtoNet(Learned):
    """Logits are −‖f(x) − c_k‖², c_k the mean feature vector of class k's support examples (equations 1 and 2)."""

    kinds: ClassVar[tuple[type, ...]] = (Classification,)
    because: ClassVar[str] = ", since it takes the mean of each class"
    needs_head: ClassVar[bool] = False

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
        members = model.kind.features(support.y, features.dtype)
        if support.real is not None:
            members = members * support.real[:, None]
        count = members.sum(0)[:, None]
        # A class that the support set lacks is taken to be at the mean of all of it.
        middle = members.sum(1) @ features / count.sum()
        prototypes = torch.where(count > 0, members.T @ features / count.clamp(min=1), middle)
        return -(queries[:, None] - prototypes[None]).square().sum(-1)
