"""Optimizers of the inner loop, as pure and differentiable functions.

By themselves they keep nothing: their state goes in and comes out. It begins anew with every task, unless an algorithm
remembers it (`metarun.algorithms.remembered_optimizer`).
"""

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from metarun.core.fields import choice, number
from metarun.models.base import Parameters

EPSILON = 1e-8

OptimizerState = dict[str, Parameters]


@dataclass(kw_only=True)
class InnerOptimizer:
    """name: ``sgd``, with ``momentum``; or ``adam`` (Kingma & Ba 2015), whose β₁ is ``momentum`` and β₂ ``beta2``."""

    name: str = choice("sgd", "adam")
    momentum: float = number(least=0, below=1)
    beta2: float = number(least=0, below=1)

    def direction(
        self, gradient: Parameters, state: OptimizerState, step: int | Tensor
    ) -> tuple[Parameters, OptimizerState]:
        """What to subtract, times the step size, and the next state; the first ``step`` is 1, from state ``{}``."""
        if self.name == "sgd":
            return self._sgd(gradient, state)
        return self._adam(gradient, state, step)

    @property
    def moments(self) -> tuple[str, ...]:
        """Names of the parts of the state on which later steps depend, each of them shaped as the parameters."""
        mean = self.momentum > 0
        if self.name == "sgd":
            return ("velocity",) if mean else ()
        return ("mean", "square") if mean else ("square",)

    def _sgd(self, gradient: Parameters, state: OptimizerState) -> tuple[Parameters, OptimizerState]:
        if not self.momentum:
            return gradient, state
        if state:
            gradient = {name: self.momentum * state["velocity"][name] + g for name, g in gradient.items()}
        return gradient, {"velocity": gradient}

    def _adam(
        self, gradient: Parameters, state: OptimizerState, step: int | Tensor
    ) -> tuple[Parameters, OptimizerState]:
        zeros = {name: torch.zeros_like(g) for name, g in gradient.items()}
        past = {"mean": zeros, "square": zeros, **state}
        mean = {n: self.momentum * past["mean"][n] + (1 - self.momentum) * g for n, g in gradient.items()}
        square = {n: self.beta2 * past["square"][n] + (1 - self.beta2) * g * g for n, g in gradient.items()}
        scale = {n: _root(square[n] / _seen(self.beta2, step)) + EPSILON for n in gradient}
        direction = {n: mean[n] / _seen(self.momentum, step) / scale[n] for n in gradient}
        return direction, {"mean": mean, "square": square}


def _seen(beta: float, step: int | Tensor) -> float | Tensor:
    """1 - beta^step: the weight that a moving average has given to what it has seen."""
    if not isinstance(step, Tensor):
        return 1 - beta**step
    return -torch.expm1(step * log(beta)) if beta else torch.ones_like(step)  # 1 - 0.999 is inexact in float32


def _root(x: Tensor) -> Tensor:
    """Square root whose derivative at 0 is 0, not infinity: a parameter with no gradient must not make NaN."""
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1.0).sqrt(), 0.0)
