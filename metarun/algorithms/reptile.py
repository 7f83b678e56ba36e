"""Reptile (Nichol, Achiam & Schulman 2018, "On first-order meta-learning algorithms", algorithm 2)."""

from dataclasses import dataclass

from torch import Tensor

from metarun.algorithms.base import Draws, with_gradient
from metarun.algorithms.gradient_based import ConstantRate, LearnedStart
from metarun.models.base import Parameters, TaskModel
from metarun.tasks import Task


@dataclass(kw_only=True)
class Reptile(ConstantRate, LearnedStart):
    """θ⁰ ← θ⁰ + ε·mean(θ' − θ⁰): with the outer optimiser ``sgd`` its step size is ε, exactly.

    The queries play no part in learning; they are only looked at for the log.
    """

    def objective(
        self, model: TaskModel, own: Parameters, theta: Parameters, task: Task, draws: Draws
    ) -> tuple[Tensor, Tensor]:
        start = {name: tensor.detach() for name, tensor in theta.items()}
        state = self.adapt(model, own, start, task.support, draws)
        prediction = self.predict(model, own, state, task.support, task.query.x)
        away = {name: start[name] - state.theta[name] for name in start}
        return with_gradient(model.kind.loss(prediction, task.query.y), at=theta, gradient=away), prediction
