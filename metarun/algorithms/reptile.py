"""Reptile (Nichol, Achiam & Schulman 2018, "On first-order meta-learning algorithms", algorithm 2)."""

from dataclasses import dataclass

from torch import Tensor

from metarun.algorithms import remembered_optimizer
from metarun.algorithms.base import Draws, InnerState, ObjectiveOutput, with_gradient
from metarun.algorithms.gradient_based import ConstantRate, LearnedStart
from metarun.core.tasks import AnyExamples, Task
from metarun.models.base import Parameters, TaskModel
from metarun.models.inner_optimizer import OptimizerState


@dataclass(kw_only=True)
class Reptile(ConstantRate, LearnedStart):
    """θ⁰ ← θ⁰ + ε·mean(θ' − θ⁰): with the outer optimizer ``sgd`` its step size is ε, exactly.

    The queries play no part in learning; they are only looked at for the log. ``keep_moments``: whether the moments of
    the inner optimizer outlive the task, see `metarun.algorithms.remembered_optimizer`.
    """

    keep_moments: bool

    def memory(self, theta: Parameters) -> Parameters:
        return remembered_optimizer.initial(self.inner_optimizer, theta) if self.keep_moments else {}

    def optimizer_state(self, model: TaskModel, moving: Parameters) -> tuple[OptimizerState, int | Tensor]:
        if not self.keep_moments:
            return super().optimizer_state(model, moving)
        return remembered_optimizer.recalled(self.inner_optimizer, model.memory, moving)

    def step(
        self, model: TaskModel, params: Parameters, state: InnerState, support: AnyExamples, number: int, draws: Draws
    ) -> InnerState:
        state = super().step(model, params, state, support, number, draws)
        if self.keep_moments:
            _, before = self.optimizer_state(model, {})
            remembered_optimizer.report(self.inner_optimizer, model.memory, state.optimizer, before + number + 1)
        return state

    def objective(
        self, model: TaskModel, params: Parameters, theta: Parameters, task: Task, draws: Draws
    ) -> ObjectiveOutput:
        start = {name: tensor.detach() for name, tensor in theta.items()}
        outcome = super().objective(model, params, start, task, draws)
        away = {name: start[name] - outcome.adapted[name] for name in start}
        return outcome._replace(objective=with_gradient(outcome.objective, at=theta, gradient=away))
