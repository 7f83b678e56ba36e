"""What a meta-learner is: how it adapts to a task, how it predicts, and what its outer loop minimizes.

Everything here is written for one task; the engine batches it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from metarun.algorithms.outer_loop import OuterLoop
from metarun.core.inputs import Inputs
from metarun.core.kinds import Classification, Regression, TaskKind
from metarun.core.tasks import AnyExamples, Task, TaskBatch
from metarun.datasets.base import Problem
from metarun.models.base import Parameters, TaskModel
from metarun.models.inner_optimizer import OptimizerState

Draws = dict[str, Tensor]
"""What one task's inner loop is told from outside, by name."""


class Adapted(NamedTuple):
    """Where the inner loop stands: θ, where it began, the inner optimizer's state, the running statistics."""

    theta: Parameters
    start: Parameters
    optimizer: OptimizerState
    running: Parameters


@dataclass(kw_only=True)
class Algorithm:
    """A meta-learner; its fields are the keys of its ``conf/algorithm/*.yaml`` file.

    Its own meta-parameters (step sizes, say) are named ``own`` below: the group ``algorithm`` of φ.
    """

    kinds: ClassVar[tuple[type[TaskKind], ...]] = (Classification, Regression)
    """Kinds of task that it can learn."""
    because: ClassVar[str] = ""
    """Why it can learn no others, as the rest of a sentence: ", since …"."""
    needs_head: ClassVar[bool] = True
    """Whether the task model ends in a layer with one output per class or target; else it makes features."""
    attends: ClassVar[bool] = False
    """Whether it is a `metarun.algorithms.on_features.Attending`, which says how support examples weigh."""

    @property
    def context_size(self) -> int:
        """How many numbers of context the task model is to have."""
        return 0

    @property
    def second_order(self) -> bool:
        """Whether the outer gradient flows through the inner gradients."""
        return False

    @property
    def recomputes(self) -> bool:
        """Whether the adapted parameters carry no gradient, the objective being given its own."""
        return False

    @property
    def tries_steps(self) -> int | None:
        """Where the number of inner steps of the test is to be chosen on meta-val: up to how many are tried."""
        return None

    def holds(self, name: str) -> bool:
        """Whether the meta-parameter of its own of that name stays at its start."""
        return False

    def parameters(self, theta: Parameters, problem: Problem) -> Parameters:
        """Its own meta-parameters at the start, for a task model with parameters like ``theta``."""
        return {}

    def bound(self, own: Parameters) -> None:
        """Bring its own meta-parameters back, in place, to the values that they may have: after every meta-update."""
        return

    def last_layer(self, linear: nn.Linear) -> nn.Module:
        """The task model's last layer, in place of a linear one."""
        return linear

    def memory(self, theta: Parameters) -> Parameters:
        """What it remembers of tasks besides its meta-parameters, as it is before the first task, by names of its own.

        In an inner loop it is found as ``model.memory``, where `metarun.models.memory.Memory.report` takes what it is
        to become.
        """
        return {}

    def network(self, features: int, problem: Problem) -> nn.Module:
        """A network of its own beside the task model, whose parameters are its own meta-parameters as well.

        It is found as `TaskModel.own`. ``features``: the number of outputs of the task model.
        """
        return nn.Module()

    def steps(self, testing: bool) -> int:
        """Number of inner steps."""
        return 0

    def check(self, problem: Problem) -> None:
        """Raise `UserError` where these settings make no sense for the problem."""
        return

    def draws(self, tasks: TaskBatch, testing: bool, progress: float) -> Draws:
        """What the inner loops of T tasks are told before batching: random choices, and what is annealed.

        Tensors ``[T, ...]``, pure in the tasks' numbers and sizes and in ``progress``, the share of meta-training done.
        Here ``tasks.number`` is shifted by an amount that belongs to the run's seed (`Learner.draws`).
        """
        return {}

    def begin(self, own: Parameters, theta: Parameters) -> Adapted:
        """The inner loop before its first step."""
        return Adapted(theta, theta, {}, {})

    def step(
        self, model: TaskModel, own: Parameters, state: Adapted, support: AnyExamples, number: int, draws: Draws
    ) -> Adapted:
        """Inner step ``number`` (from 0)."""
        raise NotImplementedError(f"{type(self).__name__} has no inner steps")

    def adapt(
        self,
        model: TaskModel,
        own: Parameters,
        theta: Parameters,
        support: AnyExamples,
        draws: Draws,
        testing: bool = False,
        visit: Callable[[Adapted], None] | None = None,
    ) -> Adapted:
        """The whole inner loop, from θ⁰. ``visit`` is shown where it stands before and after each step."""
        state = self.begin(own, theta)
        if visit is not None:
            visit(state)
        for number in range(self.steps(testing)):
            state = self.step(model, own, state, support, number, draws)
            if visit is not None:
                visit(state)
        return state

    def predict(
        self,
        model: TaskModel,
        own: Parameters,
        state: Adapted,
        support: AnyExamples,
        x: Inputs,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Predictions ``[q, outputs]`` for queries ``x`` of the adapted task; ``mask``: 0 for padding rows."""
        return model.predict(state.theta, state.running, support, x, mask)


class ObjectiveOutput(NamedTuple):
    """What the outer loop needs of one task.

    objective: a scalar whose gradient with respect to θ⁰ and the algorithm's own parameters is the outer rule's.
    adapted: θ' as the inner loop left it. prediction: for the queries, ``[q, outputs]``.
    """

    objective: Tensor
    adapted: Parameters
    prediction: Tensor


@dataclass(kw_only=True)
class Learned(Algorithm):
    """A meta-learner with an outer loop; a baseline that learns nothing beforehand is an `Algorithm` only."""

    outer: OuterLoop

    def objective(
        self, model: TaskModel, own: Parameters, theta: Parameters, task: Task, draws: Draws
    ) -> ObjectiveOutput:
        """Adapt from θ⁰ and judge.

        The engine averages the objective over tasks and differentiates with respect to φ, through whatever made θ⁰.
        The plain rule is the loss on the queries after adaptation; others override it.
        """
        return self.judged(model, own, self.adapt(model, own, theta, task.support, draws), task)

    def judged(self, model: TaskModel, own: Parameters, state: Adapted, task: Task) -> ObjectiveOutput:
        """The loss on the queries where the inner loop stands."""
        prediction = self.predict(model, own, state, task.support, task.query.x, task.query.mask)
        return ObjectiveOutput(model.kind.loss(prediction, task.query.y, task.query.mask), state.theta, prediction)


def with_gradient(value: Tensor, at: Parameters, gradient: Parameters) -> Tensor:
    """``value``, with ``gradient`` as its derivative with respect to ``at``: for outer rules that are no derivative."""
    zeros = [((point - point.detach()) * gradient[name].detach()).sum() for name, point in at.items()]
    return value.detach() + sum(zeros)
