"""Inner steps that do not overshoot, whatever the step size."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad

from metarun.algorithms.base import Draws, InnerState
from metarun.algorithms.gradient_based import ConstantRate, GradientBased
from metarun.algorithms.solver import dot
from metarun.core.tasks import AnyExamples
from metarun.models.base import Parameters, TaskModel


@dataclass(kw_only=True)
class ShortenedSteps(ConstantRate, GradientBased):
    """An inner loop whose steps are shortened where they would raise the inner loss.

    shorten: whether such a step is cut to where the parabola through the losses at its two ends, with the slope at its
    beginning, is lowest: at most half of the step. On a quadratic loss that is the exact line search. It costs two more
    passes through the network a step.
    """

    shorten: bool

    def step(
        self, model: TaskModel, params: Parameters, state: InnerState, support: AnyExamples, number: int, draws: Draws
    ) -> InnerState:
        stepped = super().step(model, params, state, support, number, draws)
        if not self.shorten:
            return stepped
        seen = support.rows(draws["minibatches"][number]) if "minibatches" in draws else support
        moved = {name: stepped.theta[name] - at for name, at in state.theta.items()}

        def height(theta: Parameters) -> Tensor:
            loss, _ = model.support_loss(theta, {}, state.running, seen)
            return loss + self.penalty(theta, state.start)

        if self.inner_optimizer.moments:
            fall = -dot(grad(height)(state.theta), moved)
        else:  # the step is -α times the gradient
            fall = dot(moved, moved) / self.inner_lr
        rise = (height(stepped.theta) - height(state.theta)).nan_to_num(nan=torch.inf)
        too_far = (rise > 0) & (fall > 0)
        share = torch.where(too_far, fall / torch.where(too_far, 2 * (fall + rise), 1.0), 1.0)
        return stepped._replace(theta={name: at + share * moved[name] for name, at in state.theta.items()})
