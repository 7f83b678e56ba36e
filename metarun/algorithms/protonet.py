"""Prototypical networks (Snell, Swersky & Zemel 2017, "Prototypical networks for few-shot learning")."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from metarun.algorithms.base import Adapted, Learned
from metarun.kinds import Classification
from metarun.models.base import Parameters, TaskModel
from metarun.tasks import Examples


@dataclass(kw_only=True)
class ProtoNet(Learned):
    """Logits are −‖f(x) − c_k‖², c_k the mean feature vector of class k's support examples (equations 1 and 2)."""

    kinds: ClassVar[tuple[type, ...]] = (Classification,)
    needs_head: ClassVar[bool] = False

    def predict(self, model: TaskModel, own: Parameters, state: Adapted, support: Examples, x: Tensor) -> Tensor:
        features, queries = model.outputs(state.theta, state.running, support, x)
        members = model.kind.features(support.y, features.dtype)
        prototypes = members.T @ features / members.sum(0)[:, None]
        return -(queries[:, None] - prototypes[None]).square().sum(-1)
