"""iMAML (Rajeswaran et al. 2019, "Meta-learning with implicit gradients")."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, vjp
from torch.utils._pytree import tree_map

from metarun.algorithms.base import Draws, Outcome, with_gradient
from metarun.algorithms.gradient_based import ConstantRate, LearnedStart
from metarun.algorithms.solver import conjugate_gradients
from metarun.config.fields import number
from metarun.errors import UserError
from metarun.models.base import Parameters, TaskModel
from metarun.tasks import Task


@dataclass(kw_only=True)
class IMAML(ConstantRate, LearnedStart):
    """Inner steps on L_S(θ) + λ/2 ‖θ − θ⁰‖², and the meta-gradient (I + H/λ)⁻¹ ∇L_Q(θ') (equations 3 and 6).

    λ is ``proximal``. H is the Hessian of L_S at θ'. The system is solved by a few steps of conjugate gradients
    (algorithm 2), with λ + ``damping`` for λ, as the authors' code has it. Memory does not grow with the inner steps.
    """

    solver_steps: int = number(least=1)
    damping: float = number(least=0)

    def __post_init__(self) -> None:
        if not self.proximal:
            raise UserError(
                "algorithm.proximal=0: the implicit gradient is that of an inner loop held near its start; give a "
                "positive number"
            )

    def objective(self, model: TaskModel, own: Parameters, theta: Parameters, task: Task, draws: Draws) -> Outcome:
        start = {name: tensor.detach() for name, tensor in theta.items()}
        state = tree_map(torch.detach, self.adapt(model, own, start, task.support, draws))
        outcome, end = self.judged(model, own, state, task), state.theta

        def query_loss(theta: Parameters) -> Tensor:
            return self.judged(model, own, state._replace(theta=theta), task).objective

        def support_gradient(theta: Parameters) -> Parameters:
            return grad(lambda moving: model.support_loss(moving, {}, {}, task.support)[0])(theta)

        def system(vector: Parameters) -> Parameters:
            # The Hessian is symmetric, so that pulling back is multiplying by it.
            product = vjp(support_gradient, end)[1](vector)[0]
            return {name: part + product[name] / (self.proximal + self.damping) for name, part in vector.items()}

        implicit = conjugate_gradients(system, grad(query_loss)(end), self.solver_steps)
        return outcome._replace(objective=with_gradient(outcome.objective, at=theta, gradient=implicit))
