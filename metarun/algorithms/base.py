"""The interface of algorithms: adaptation to a task, prediction, and the objective of the outer loop.

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

MetaGroups = dict[str, Parameters]
"""φ by group, or its gradient."""
GradientAt = Callable[[MetaGroups], tuple[MetaGroups, dict[str, Tensor]]]
"""φ → the meta-gradient of a meta-batch and its mean metrics."""
Draws = dict[str, Tensor]
"""Inputs of a task's inner loop besides φ and the task, by name (see `Algorithm.draws`)."""


class InnerState(NamedTuple):
    """State of the inner loop: θ, its start θ⁰, the state of the inner optimizer, the running statistics."""

    theta: Parameters
    start: Parameters
    optimizer: OptimizerState
    running: Parameters


@dataclass(kw_only=True)
class Algorithm:
    """A meta-learner; its fields are the keys of its ``conf/algorithm/*.yaml`` file.

    ``params`` below are the meta-parameters of the algorithm (learned step sizes, for example): the group ``algorithm``
    of φ.
    """

    kinds: ClassVar[tuple[type[TaskKind], ...]] = (Classification, Regression)
    """Supported kinds of task."""
    because: ClassVar[str] = ""
    """Why other kinds are not supported, as the rest of a sentence: ", since …"."""
    needs_head: ClassVar[bool] = True
    """Whether the task model ends in a layer with one output per class or target; otherwise it outputs features."""
    attends: ClassVar[bool] = False
    """Whether it is a `metarun.algorithms.on_features.Attending`, with attention weights of support examples."""

    @property
    def context_size(self) -> int:
        """Number of context parameters of the task model."""
        return 0

    @property
    def second_order(self) -> bool:
        """Whether the outer gradient flows through the inner gradients."""
        return False

    @property
    def recomputes(self) -> bool:
        """Whether the adapted parameters carry no gradient, because the objective is given one (`with_gradient`)."""
        return False

    @property
    def max_tried_steps(self) -> int | None:
        """The maximum number of inner steps to try, if that of the test is chosen on meta-val; otherwise ``None``."""
        return None

    def is_frozen(self, name: str) -> bool:
        """Whether the algorithm's meta-parameter ``name`` is frozen."""
        return False

    def parameters(self, theta: Parameters, problem: Problem) -> Parameters:
        """Initial meta-parameters of the algorithm, for a task model with parameters like ``theta``."""
        return {}

    def clamp(self, params: Parameters) -> None:
        """Clamp the algorithm's meta-parameters in place to their valid range; called after every meta-update."""
        return

    def last_layer(self, linear: nn.Linear) -> nn.Module:
        """The last layer of the task model, given the linear one that it replaces."""
        return linear

    def memory(self, theta: Parameters) -> Parameters:
        """Initial values of what the algorithm keeps over tasks without gradients, by name.

        The inner loop reads it as ``model.memory``, and `metarun.models.memory.Memory.report` takes the new values.
        """
        return {}

    def network(self, features: int, problem: Problem) -> nn.Module:
        """A network beside the task model, whose parameters belong to the algorithm's meta-parameters.

        It is available as `TaskModel.algorithm_network`. ``features``: the number of outputs of the task model.
        """
        return nn.Module()

    def steps(self, testing: bool) -> int:
        """Number of inner steps."""
        return 0

    def check(self, problem: Problem) -> None:
        """Raise `UserError` if these settings do not fit the problem."""
        return

    def draws(self, tasks: TaskBatch, testing: bool, progress: float) -> Draws:
        """Inputs of the inner loops of T tasks that are computed before batching: random choices, annealed values.

        Tensors ``[T, ...]``, a pure function of the tasks' numbers and sizes and of ``progress``, the fraction of
        meta-training done. ``tasks.number`` is offset by the seed of the run (`Learner.draws`).
        """
        return {}

    def initial_state(self, params: Parameters, theta: Parameters) -> InnerState:
        """State of the inner loop before its first step."""
        return InnerState(theta, theta, {}, {})

    def step(
        self, model: TaskModel, params: Parameters, state: InnerState, support: AnyExamples, number: int, draws: Draws
    ) -> InnerState:
        """Inner step ``number`` (from 0)."""
        raise NotImplementedError(f"{type(self).__name__} has no inner steps")

    def adapt(
        self,
        model: TaskModel,
        params: Parameters,
        theta: Parameters,
        support: AnyExamples,
        draws: Draws,
        testing: bool = False,
        visit: Callable[[InnerState], None] | None = None,
    ) -> InnerState:
        """The whole inner loop from θ⁰. ``visit`` is called with the state before the first and after each step."""
        state = self.initial_state(params, theta)
        if visit is not None:
            visit(state)
        for number in range(self.steps(testing)):
            state = self.step(model, params, state, support, number, draws)
            if visit is not None:
                visit(state)
        return state

    def predict(
        self,
        model: TaskModel,
        params: Parameters,
        state: InnerState,
        support: AnyExamples,
        x: Inputs,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Predictions ``[q, outputs]`` for queries ``x`` of the adapted task; ``mask``: 0 for padding rows."""
        return model.predict(state.theta, state.running, support, x, mask)


class ObjectiveOutput(NamedTuple):
    """Output of `Learned.objective` for one task.

    objective: a scalar whose gradient with respect to θ⁰ and ``params`` is that of the outer rule.
    adapted: θ' after the inner loop. prediction: for the queries, ``[q, outputs]``.
    """

    objective: Tensor
    adapted: Parameters
    prediction: Tensor


@dataclass(kw_only=True)
class Learned(Algorithm):
    """A meta-learner with an outer loop; a baseline without meta-training is only an `Algorithm`."""

    outer: OuterLoop

    def outer_gradient(self, gradient_at: GradientAt, phi: MetaGroups) -> tuple[MetaGroups, dict[str, Tensor]]:
        """The gradient that the outer optimizer takes, and metrics: by default those of the meta-batch at ``phi``.

        ``gradient_at`` averages over all tasks and processes. It may be called several times, for example at an ascent
        step; all processes must call it equally often. Its group `metarun.models.memory.MEMORY` is not a gradient, but
        the new state.
        """
        return gradient_at(phi)

    def objective(
        self, model: TaskModel, params: Parameters, theta: Parameters, task: Task, draws: Draws
    ) -> ObjectiveOutput:
        """Adapt from θ⁰ and return the objective.

        The engine averages the objective over tasks and differentiates with respect to φ, through whatever made θ⁰.
        The default is the loss on the queries after adaptation; other rules override it.
        """
        return self.query_loss(model, params, self.adapt(model, params, theta, task.support, draws), task)

    def query_loss(self, model: TaskModel, params: Parameters, state: InnerState, task: Task) -> ObjectiveOutput:
        """The loss on the queries at the current state of the inner loop."""
        prediction = self.predict(model, params, state, task.support, task.query.x, task.query.mask)
        return ObjectiveOutput(model.kind.loss(prediction, task.query.y, task.query.mask), state.theta, prediction)


def with_gradient(value: Tensor, at: Parameters, gradient: Parameters) -> Tensor:
    """``value`` with ``gradient`` as its derivative by ``at``, for outer rules that are not derivatives."""
    zeros = [((point - point.detach()) * gradient[name].detach()).sum() for name, point in at.items()]
    return value.detach() + sum(zeros)
