"""Reptile (Nichol, Achiam & Schulman 2018, "On first-order meta-learning algorithms", algorithm 2)."""

from dataclasses import dataclass

from metarun.algorithms.base import Draws, Outcome, with_gradient
from metarun.algorithms.gradient_based import ConstantRate, LearnedStart
from metarun.models.base import Parameters, TaskModel
from metarun.tasks import Task


@dataclass(kw_only=True)
class Reptile(ConstantRate, LearnedStart):
    """θ⁰ ← θ⁰ + ε·mean(θ' − θ⁰): with the outer optimiser ``sgd`` its step size is ε, exactly.

    The queries play no part in learning; they are only looked at for the log.
    """

    def objective(self, model: TaskModel, own: Parameters, theta: Parameters, task: Task, draws: Draws) -> Outcome:
        start = {name: tensor.detach() for name, tensor in theta.items()}
        outcome = super().objective(model, own, start, task, draws)
        away = {name: start[name] - outcome.adapted[name] for name in start}
        return outcome._replace(objective=with_gradient(outcome.objective, at=theta, gradient=away))
