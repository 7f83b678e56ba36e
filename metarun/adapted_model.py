"""A task model that was adapted to a user's own examples."""

import threading
from typing import Any

import torch
from torch import Tensor

from metarun.algorithms.base import InnerState
from metarun.core.errors import UserError
from metarun.core.inputs import one_of
from metarun.core.tasks import AnyExamples
from metarun.learner.learner import Learner
from metarun.models.base import Parameters


class AdaptedModel:
    """Predicts for inputs of one task; made by `metarun.meta_learner.MetaLearner.adapt`.

    Each prediction depends on the support set and its own input alone, unless the run was ``transductive``: then inputs
    that are given together are normalized by one another.
    """

    def __init__(
        self, learner: Learner, params: Parameters, state: InnerState, support: AnyExamples, lock: threading.RLock
    ) -> None:
        self._learner, self._params, self._state, self._support, self._lock = learner, params, state, support, lock

    @property
    def parameters(self) -> Parameters:
        """A copy of θ', by name."""
        return {name: tensor.clone() for name, tensor in self._state.theta.items()}

    def predict(self, x: Any) -> Tensor:
        """Class numbers ``[q]``, or expected targets ``[q, dimensions]``, for q inputs ``x``.

        x: a NumPy array, a tensor or a list; a dictionary of these where inputs have names. Raises `UserError` where it
        has another shape or is not finite.
        """
        return self._learner.model.kind.decision(self._outputs(x))

    def logits(self, x: Any) -> Tensor:
        """Logits ``[q, ways]``. Raises `UserError` of a regression."""
        return self._told("logits", x)

    def probabilities(self, x: Any) -> Tensor:
        """Probabilities of the classes ``[q, ways]``: the softmax of `logits`. Raises `UserError` of a regression."""
        return self._told("probabilities", x)

    def std(self, x: Any) -> Tensor:
        """Predicted standard deviations ``[q, dimensions]``. Raises `UserError` unless likelihood=gaussian."""
        return self._told("std", x)

    def _told(self, name: str, x: Any) -> Tensor:
        kind = self._learner.model.kind
        told = kind.distribution(self._outputs(x))
        if name not in told:
            others = "".join(f", {other}(x)" for other in told)
            raise UserError(f"this meta-learner does {kind.name}, which has no {name}; use predict(x){others}")
        return told[name]

    def _outputs(self, x: Any) -> Tensor:
        learner = self._learner
        like = one_of(self._support.x)
        inputs = learner.problem.inputs.tensors(x, "x", like.dtype, like.device)
        with self._lock, torch.no_grad():
            return learner.algorithm.predict(learner.model, self._params, self._state, self._support, inputs)
