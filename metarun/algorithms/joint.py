"""The baselines that learn all tasks as one: without adaptation, and with fine-tuning of what was learned so."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metarun.algorithms.base import Draws, Learned, Outcome
from metarun.algorithms.gradient_based import ConstantRate, GradientBased
from metarun.datasets.base import Problem
from metarun.errors import UserError
from metarun.models.base import HEAD, Parameters, TaskModel, joined
from metarun.tasks import AnyExamples, Task

CLASSES = "classes."
"""How the names of the head over all classes of meta-training begin, among an algorithm's own meta-parameters."""


@dataclass(kw_only=True)
class Joint(Learned):
    """Multi-task learning: φ ← φ − β∇L_{S ∪ Q}(θ⁰), one model for all tasks and no adaptation.

    Support and queries count alike; the queries are normalised as at meta-test. With a hypernetwork on a task embedding
    the model still knows which task it is asked.
    """

    def check(self, problem: Problem) -> None:
        if problem.training_classes:
            raise UserError(
                f"algorithm=joint: which class a label of a {problem.name} task means, only its support set tells, so "
                "nothing can be predicted without adaptation; use algorithm=finetune"
            )

    def objective(self, model: TaskModel, own: Parameters, theta: Parameters, task: Task, draws: Draws) -> Outcome:
        seen, asked = model.outputs(theta, {}, task.support, task.query.x, task.query.real)
        real = joined(task.support, task.query.x, task.query.real)
        loss = model.kind.loss(torch.cat((seen, asked)), torch.cat((task.support.y, task.query.y)), real)
        return Outcome(loss, theta, asked)


@dataclass(kw_only=True)
class Finetune(Joint, ConstantRate, GradientBased):
    """Joint pre-training, and ``inner_steps`` of an inner loop at validation and test.

    Where labels mean another class in every task, the pre-training tells all classes of meta-training apart, by a head
    of their own, and the head that test tasks adapt is the untrained one (the baseline of Chen et al. 2019, "A closer
    look at few-shot classification", with the whole network fine-tuned).
    """

    def check(self, problem: Problem) -> None:
        return

    def steps(self, testing: bool) -> int:
        return self.inner_steps if testing else 0

    def parameters(self, theta: Parameters, problem: Problem) -> Parameters:
        if not problem.training_classes:
            return {}
        heads = {name: tensor for name, tensor in theta.items() if name.startswith(HEAD)}
        bound = heads[f"{HEAD}weight"].shape[1] ** -0.5
        return {
            CLASSES + name.removeprefix(HEAD): bound
            * (2 * torch.rand(problem.training_classes, *tensor.shape[1:], dtype=tensor.dtype) - 1)
            for name, tensor in heads.items()
        }

    def objective(self, model: TaskModel, own: Parameters, theta: Parameters, task: Task, draws: Draws) -> Outcome:
        if not own:
            return super().objective(model, own, theta, task, draws)
        head = {HEAD + name.removeprefix(CLASSES): tensor for name, tensor in own.items()}
        everything = task._replace(support=_named(task.support, task.classes), query=_named(task.query, task.classes))
        outcome = super().objective(model, own, theta | head, everything, draws)
        return Outcome(outcome.objective, theta, outcome.prediction[:, task.classes])


def _named(examples: AnyExamples, classes: Tensor) -> AnyExamples:
    """The examples, labelled by their classes among all those of meta-training."""
    return examples._replace(y=classes[examples.y])
