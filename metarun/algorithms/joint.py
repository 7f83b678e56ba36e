"""The baselines that learn all tasks as one: without adaptation, and with fine-tuning of what was learned so."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metarun.algorithms.base import Draws, InnerState, Learned, ObjectiveOutput
from metarun.algorithms.cosine_head import CosineHead
from metarun.algorithms.on_features import seen_through
from metarun.algorithms.protonet import by_centroids
from metarun.algorithms.shortened_steps import ShortenedSteps
from metarun.core.errors import UserError
from metarun.core.fields import choice
from metarun.core.inputs import Inputs
from metarun.core.tasks import AnyExamples, Task
from metarun.datasets.base import Problem
from metarun.models.base import HEAD, Parameters, TaskModel, joined

CLASSES = "classes."
"""How the names of the head over all classes of meta-training begin, among an algorithm's own meta-parameters."""


@dataclass(kw_only=True)
class Joint(Learned):
    """Multi-task learning: φ ← φ − β∇L_{S ∪ Q}(θ⁰), one model for all tasks and no adaptation.

    Support and queries count alike; the queries are normalized as at meta-test. With a hypernetwork on a task embedding
    the model still knows which task it is asked.
    """

    def check(self, problem: Problem) -> None:
        if problem.training_classes:
            raise UserError(
                f"algorithm=joint: labels of {problem.name} tasks have a different meaning in each task, so "
                "nothing can be predicted without adaptation; use algorithm=finetune"
            )

    def objective(
        self, model: TaskModel, params: Parameters, theta: Parameters, task: Task, draws: Draws
    ) -> ObjectiveOutput:
        seen, asked = model.outputs(theta, {}, task.support, task.query.x, task.query.mask)
        mask = joined(task.support, task.query.x, task.query.mask)
        loss = model.kind.loss(torch.cat((seen, asked)), torch.cat((task.support.y, task.query.y)), mask)
        return ObjectiveOutput(loss, theta, asked)


@dataclass(kw_only=True)
class Finetune(Joint, ShortenedSteps):
    """Joint pre-training, and ``inner_steps`` of an inner loop at validation and test.

    Where labels mean another class in every task, the pre-training tells all classes of meta-training apart, by a head
    of their own, and the head that test tasks adapt is the untrained one.

    tunes: what the inner loop moves: ``all`` of the network, or the ``head`` on frozen features (the Baseline of Chen
    et al. 2019, "A closer look at few-shot classification"). head: ``linear``; ``cosine``, in pre-training as well
    (their Baseline++); or ``nearest_centroid``: pre-training with a linear head, and at test the nearest class mean of
    features, with no inner loop at all.
    """

    tunes: str = choice("all", "head")
    head: str = choice("linear", "cosine", "nearest_centroid")

    def check(self, problem: Problem) -> None:
        if self.head != "linear" and not problem.kind.by_class:
            raise UserError(
                f"algorithm.head={self.head}: is for classification, and the tasks of dataset={problem.name} are "
                "regression; use algorithm.head=linear"
            )

    def steps(self, testing: bool) -> int:
        return self.inner_steps if testing and self.head != "nearest_centroid" else 0

    def adapts(self, name: str) -> bool:
        return self.tunes == "all" or name.startswith(HEAD)

    def last_layer(self, linear: nn.Linear) -> nn.Module:
        return CosineHead(linear) if self.head == "cosine" else linear

    def predict(
        self,
        model: TaskModel,
        params: Parameters,
        state: InnerState,
        support: AnyExamples,
        x: Inputs,
        mask: Tensor | None = None,
    ) -> Tensor:
        if self.head != "nearest_centroid":
            return super().predict(model, params, state, support, x, mask)
        features = state._replace(theta=state.theta | _passing(state.theta))
        return by_centroids(*seen_through(model, features, support, x, mask))

    def parameters(self, theta: Parameters, problem: Problem) -> Parameters:
        if self.head == "cosine" and f"{HEAD}bias" in theta:
            raise UserError("algorithm.head=cosine: needs a model whose last layer, its 'head', is a torch.nn.Linear")
        if not problem.training_classes:
            return {}
        heads = {name: tensor for name, tensor in theta.items() if name.startswith(HEAD)}
        bound = heads[f"{HEAD}weight"].shape[1] ** -0.5
        return {
            CLASSES + name.removeprefix(HEAD): bound
            * (2 * torch.rand(problem.training_classes, *tensor.shape[1:], dtype=tensor.dtype) - 1)
            for name, tensor in heads.items()
        }

    def objective(
        self, model: TaskModel, params: Parameters, theta: Parameters, task: Task, draws: Draws
    ) -> ObjectiveOutput:
        if not params:
            return super().objective(model, params, theta, task, draws)
        head = {HEAD + name.removeprefix(CLASSES): tensor for name, tensor in params.items()}
        everything = task._replace(support=_named(task.support, task.classes), query=_named(task.query, task.classes))
        outcome = super().objective(model, params, theta | head, everything, draws)
        return ObjectiveOutput(outcome.objective, theta, outcome.prediction[:, task.classes])


def _passing(theta: Parameters) -> Parameters:
    """A head whose outputs are its inputs, so that a network of this θ makes features."""
    width = theta[f"{HEAD}weight"].shape[1]
    like = theta[f"{HEAD}weight"]
    eye = torch.eye(width, dtype=like.dtype, device=like.device)
    return {f"{HEAD}weight": eye, f"{HEAD}bias": like.new_zeros(width)}


def _named(examples: AnyExamples, classes: Tensor) -> AnyExamples:
    """The examples, labeled by their classes among all those of meta-training."""
    return examples._replace(y=classes[examples.y])
