"""MBML, model-based meta-learning: MAML whose meta-model holds a training strategy beside the parameters.

Its other parts are of the outer loop, and any algorithm can have them: slow weights (`outer_loop.SlowWeights`) and
representative tasks (`outer_loop.TaskSelection`).
"""

from dataclasses import dataclass

from metarun.algorithms import learned_optimizer
from metarun.algorithms.maml import MAML
from metarun.core.fields import number
from metarun.datasets.base import Problem
from metarun.models.base import Parameters


@dataclass(kw_only=True)
class MBML(MAML):
    """θ' = θ − α_l d(∇L_S(θ)), the step sizes α_l of layers and the optimizer d being part of φ.

    optimizer_units: hidden units of the network that is d (`learned_optimizer`); with 0, d is the identity.
    """

    optimizer_units: int = number(least=0)

    def parameters(self, theta: Parameters, problem: Problem) -> Parameters:
        params = super().parameters(theta, problem)
        if not self.optimizer_units:
            return params
        dtype = next(iter(theta.values())).dtype
        return params | learned_optimizer.initial(self.optimizer_units, dtype)

    def direction(self, params: Parameters, gradient: Parameters, theta: Parameters, start: Parameters) -> Parameters:
        gradient = super().direction(params, gradient, theta, start)
        return learned_optimizer.direction(params, gradient) if self.optimizer_units else gradient
