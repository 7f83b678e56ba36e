"""What a meta-learner is: how it adapts to a task, how it predicts, and what its outer loop minimises.

Everything here is written for one task; the engine batches it.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from metarun.algorithms.inner_optimiser import OptimiserState
from metarun.algorithms.outer_loop import OuterLoop
from metarun.kinds import Classification, Regression, TaskKind
from metarun.models.base import Parameters, TaskModel
from metarun.tasks import Examples, Task

Draws = dict[str, Tensor]
"""Random choices of one task's inner loop, by name."""


class Adapted(NamedTuple):
    """Where the inner loop stands: θ, the inner optimiser's state, the running statistics."""

    theta: Parameters
    optimiser: OptimiserState
    running: Parameters


@dataclass(kw_only=True)
class Algorithm:
    """A meta-learner; its fields are the keys of its ``conf/algorithm/*.yaml`` file.

    Its own meta-parameters (step sizes, say) are named ``own`` below: the group ``algorithm`` of φ.
    """

    kinds: ClassVar[tuple[type, ...]] = (Classification, Regression)
    """Kinds of task that it can learn."""
    needs_head: ClassVar[bool] = True
    """Whether the task model ends in a layer with one output per class or target; else it makes features."""

    def parameters(self, theta: Parameters) -> Parameters:
        """Its own meta-parameters at the start, for a task model with parameters like ``theta``."""
        return {}

    def steps(self, testing: bool) -> int:
        """Number of inner steps."""
        return 0

    def check(self, kind: TaskKind, training_kind: TaskKind) -> None:
        """Raise `UserError` where these settings make no sense for tasks of ``kind``, trained on ``training_kind``."""
        return

    def draws(self, tasks: Tensor, support: int, testing: bool) -> Draws:
        """Every random choice of the inner loops of the tasks numbered ``tasks`` ``[T]``, drawn before batching.

        ``support`` is the number of support examples. Tensors ``[T, ...]``, pure in the tasks' numbers.
        """
        return {}

    def begin(self, theta: Parameters) -> Adapted:
        """The inner loop before its first step."""
        return Adapted(theta, {}, {})

    def step(
        self, model: TaskModel, own: Parameters, state: Adapted, support: Examples, number: int, draws: Draws
    ) -> Adapted:
        """Inner step ``number`` (from 0)."""
        raise NotImplementedError(f"{type(self).__name__} has no inner steps")

    def adapt(
        self,
        model: TaskModel,
        own: Parameters,
        theta: Parameters,
        support: Examples,
        draws: Draws,
    ) -> Adapted:
        """The whole inner loop of training, from θ⁰."""
        state = self.begin(theta)
        for number in range(self.steps(testing=False)):
            state = self.step(model, own, state, support, number, draws)
        return state

    def predict(self, model: TaskModel, own: Parameters, state: Adapted, support: Examples, x: Tensor) -> Tensor:
        """Predictions ``[q, outputs]`` for queries ``x`` of the adapted task."""
        return model.predict(state.theta, state.running, support, x)


@dataclass(kw_only=True)
class Learned(Algorithm):
    """A meta-learner with an outer loop; a baseline that learns nothing beforehand is an `Algorithm` only."""

    outer: OuterLoop

    def objective(
        self, model: TaskModel, own: Parameters, theta: Parameters, task: Task, draws: Draws
    ) -> tuple[Tensor, Tensor]:
        """A scalar whose gradient with respect to θ⁰ and ``own`` is the outer rule's, and the query predictions.

        The engine averages it over tasks and differentiates with respect to φ, through whatever made θ⁰. The plain
        rule is the loss on the queries after adaptation; others override it.
        """
        state = self.adapt(model, own, theta, task.support, draws)
        prediction = self.predict(model, own, state, task.support, task.query.x)
        return model.kind.loss(prediction, task.query.y), prediction


def with_gradient(value: Tensor, at: Parameters, gradient: Parameters) -> Tensor:
    """``value``, with ``gradient`` as its derivative with respect to ``at``: for outer rules that are no derivative."""
    zeros = [((point - point.detach()) * gradient[name].detach()).sum() for name, point in at.items()]
    return value.detach() + sum(zeros)
