"""iMAML (Rajeswaran et al. 2019, "Meta-learning with implicit gradients")."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad
from torch.utils._pytree import tree_map

from metarun.algorithms.base import Draws, ObjectiveOutput, with_gradient
from metarun.algorithms.curvature import gauss_newton, hessian
from metarun.algorithms.gradient_based import LearnedStart
from metarun.algorithms.shortened_steps import ShortenedSteps
from metarun.algorithms.solver import conjugate_gradients, neumann_series
from metarun.core.errors import UserError
from metarun.core.fields import choice, number
from metarun.core.tasks import Task
from metarun.models.base import Parameters, TaskModel


@dataclass(kw_only=True)
class IMAML(ShortenedSteps, LearnedStart):
    """Inner steps on L_S(θ) + λ/2 ‖θ − θ⁰‖², and the meta-gradient (I + C/λ)⁻¹ ∇L_Q(θ') (equations 3 and 6).

    The implicit gradient does not see the way to θ', so nothing keeps meta-training from making the loss so sharp that
    steps of ``inner_lr`` diverge: they are shortened (`ShortenedSteps`).

    λ is ``proximal``; C is the ``curvature`` of L_S at θ', the Gauss–Newton matrix or the Hessian. The ``solver`` takes
    ``solver_steps`` products with C, with λ + ``damping`` for λ: conjugate gradients (``cg``), or the Neumann series
    whose step is that of the inner loop, ``inner_lr``. Memory does not grow with the inner steps.
    """

    curvature: str = choice("gauss_newton", "hessian")
    solver: str = choice("cg", "neumann")
    solver_steps: int = number(least=1)
    damping: float = number(least=0)

    def __post_init__(self) -> None:
        if not self.proximal:
            raise UserError(
                "algorithm.proximal=0: the implicit gradient is that of an inner loop held near its start; give a "
                "positive number"
            )

    def objective(
        self, model: TaskModel, params: Parameters, theta: Parameters, task: Task, draws: Draws
    ) -> ObjectiveOutput:
        start = {name: tensor.detach() for name, tensor in theta.items()}
        state = tree_map(torch.detach, self.adapt(model, params, start, task.support, draws))
        outcome, end = self.query_loss(model, params, state, task), state.theta

        def query_loss(theta: Parameters) -> Tensor:
            return self.query_loss(model, params, state._replace(theta=theta), task).objective

        curved = (gauss_newton if self.curvature == "gauss_newton" else hessian)(model, end, task.support)
        held = self.proximal + self.damping

        def system(vector: Parameters) -> Parameters:
            product = curved(vector)
            return {name: part + product[name] / held for name, part in vector.items()}

        slope = grad(query_loss)(end)
        if self.solver == "cg":
            implicit = conjugate_gradients(system, slope, self.solver_steps)
        else:
            implicit = neumann_series(system, slope, self.solver_steps, self.inner_lr * held)
        return outcome._replace(objective=with_gradient(outcome.objective, at=theta, gradient=implicit))
