"""The inner loop of the MAML family: a few gradient steps on the support set."""

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor
from torch.func import grad

from metarun.algorithms.base import Algorithm, Draws, InnerState, Learned
from metarun.algorithms.minibatches import minibatches
from metarun.core.errors import UserError
from metarun.core.fields import number
from metarun.core.tasks import AnyExamples, TaskBatch
from metarun.datasets.base import Problem
from metarun.models.base import Parameters, TaskModel
from metarun.models.inner_optimizer import InnerOptimizer, OptimizerState

BEST = "best"
"""Value of ``test_steps``: the number of inner steps that is best on meta-val."""
LEAST_TRIED = 10
"""Numbers of inner steps up to this are tried, or up to twice that of training if that is more."""


@dataclass(kw_only=True)
class GradientBased(Algorithm):
    """Adapts θ by ``inner_steps`` steps of ``inner_optimizer`` on the mean loss of the support set.

    Each step uses a minibatch of ``minibatch`` examples, or the whole support set if that is null.
    """

    inner_steps: int = number(least=0)
    inner_optimizer: InnerOptimizer
    minibatch: int | None = number(least=1)

    def steps(self, testing: bool) -> int:
        return self.inner_steps

    def examples(self, testing: bool) -> int | None:
        """Number of examples in an inner step; ``None``: all."""
        return self.minibatch

    def adapts(self, name: str) -> bool:
        """Whether the inner loop adapts the parameter ``name``."""
        return True

    def gradient_point(self, theta: Parameters, draws: Draws) -> Parameters:
        """The point of the inner gradient; if detached, the gradient is a constant of the outer loop (first order)."""
        return {name: tensor.detach() for name, tensor in theta.items()}

    def direction(self, params: Parameters, gradient: Parameters, theta: Parameters, start: Parameters) -> Parameters:
        """Input of the inner optimizer, given the gradient of the loss at ``theta``; ``start`` is θ⁰."""
        return gradient

    def penalty(self, theta: Parameters, start: Parameters) -> float | Tensor:
        """Terms of the inner loss besides the loss on the support set; ``start`` is θ⁰."""
        return 0.0

    def optimizer_state(self, model: TaskModel, moving: Parameters) -> tuple[OptimizerState, int | Tensor]:
        """Initial state of the inner optimizer for parameters like ``moving``, and its number of earlier steps."""
        return {}, 0

    @abstractmethod
    def rate(self, params: Parameters, name: str, step: int) -> float | Tensor:
        """Step size of ``name`` in inner step ``step`` (from 0): a number, or a tensor that broadcasts with it."""

    def draws(self, tasks: TaskBatch, testing: bool, progress: float) -> Draws:
        size = self.examples(testing)
        if size is None:
            return {}
        return {"minibatches": minibatches(tasks.number, tasks.support, self.steps(testing), size)}

    def step(
        self, model: TaskModel, params: Parameters, state: InnerState, support: AnyExamples, number: int, draws: Draws
    ) -> InnerState:
        if "minibatches" in draws:
            support = support.rows(draws["minibatches"][number])
        theta = self.gradient_point(state.theta, draws)
        moving = {n: t for n, t in theta.items() if self.adapts(n)}
        fixed = {n: t for n, t in theta.items() if not self.adapts(n)}
        gradient, running = grad(model.support_loss, has_aux=True)(moving, fixed, state.running, support)
        gradient = self.direction(params, gradient, moving, self.gradient_point(state.start, draws))
        first, earlier = self.optimizer_state(model, gradient)
        direction, optimizer = self.inner_optimizer.direction(gradient, state.optimizer or first, earlier + number + 1)
        moved = {n: state.theta[n] - self.rate(params, n, number) * step for n, step in direction.items()}
        return InnerState({**state.theta, **moved}, state.start, optimizer, running)


@dataclass(kw_only=True)
class ConstantRate:
    """One step size for all parameters and steps."""

    inner_lr: float = number(above=0)

    def rate(self, params: Parameters, name: str, step: int) -> float:
        return self.inner_lr


@dataclass(kw_only=True)
class LearnedStart(GradientBased, Learned):
    """An inner loop whose initialization is meta-learned.

    ``test_steps`` and ``test_minibatch`` are for validation and test; null: the training values. With ``test_steps``
    ``best`` the training value is used for validation, and the number of steps is chosen on meta-val at the end
    (`metarun.training.best_steps`). With ``proximal`` λ the inner loss is L_S(θ) + λ/2 ‖θ − θ⁰‖².
    """

    test_steps: int | str | None = number(least=0, literals=(BEST,))
    test_minibatch: int | None = number(least=1)
    proximal: float = number(least=0)

    def steps(self, testing: bool) -> int:
        return self.test_steps if testing and isinstance(self.test_steps, int) else self.inner_steps

    @property
    def max_tried_steps(self) -> int | None:
        return max(2 * self.inner_steps, LEAST_TRIED) if self.test_steps == BEST else None

    def examples(self, testing: bool) -> int | None:
        return self.test_minibatch if testing and self.test_minibatch is not None else self.minibatch

    def check(self, problem: Problem) -> None:
        if problem.kind.outputs != problem.training_kind.outputs:
            raise UserError(
                f"dataset.train_ways={problem.training_kind.outputs}: this algorithm's model has one output per class, "
                f"so training needs as many ways as testing ({problem.kind.outputs}); set dataset.train_ways=null, or "
                "use algorithm=protonet"
            )

    def direction(self, params: Parameters, gradient: Parameters, theta: Parameters, start: Parameters) -> Parameters:
        if not self.proximal:
            return gradient
        return {name: slope + self.proximal * (theta[name] - start[name]) for name, slope in gradient.items()}

    def penalty(self, theta: Parameters, start: Parameters) -> float | Tensor:
        if not self.proximal:
            return 0.0
        return self.proximal / 2 * sum((at - start[name]).square().sum() for name, at in theta.items())
