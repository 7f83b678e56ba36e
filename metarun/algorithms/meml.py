"""MEML, meta-enhanced meta-learning: Reptile whose inner loop is held by a Gaussian prior around the start."""

from dataclasses import dataclass

from torch import Tensor

from metarun.algorithms.base import Draws, InnerState, ObjectiveOutput, with_gradient
from metarun.algorithms.prior import Prior
from metarun.algorithms.reptile import Reptile
from metarun.core.fields import number
from metarun.core.tasks import AnyExamples, Task
from metarun.datasets.base import Problem
from metarun.models.base import Parameters, TaskModel


@dataclass(kw_only=True)
class MEML(Reptile):
    """θ_enh = θ_t + β∇log p(θ_t|θ₀), and θ₀ ← θ₀ + γ∇E log p(θ_t|θ₀), with p = N(θ₀, σ²I) (``prior``).

    Both are steps along θ_t − θ₀: the pull goes min(β/σ², 1) of the way back, the outer step min(γ/σ², 1) of the way
    on, so that neither passes the maximum of log p. γ is ``outer.lr``, ``enhancement`` is β. The inner loop of training
    is divided into so many ``blocks``, as evenly as its steps go, and θ is pulled back after each of them; at test,
    after every so many steps as in training. The outer step uses θ_t as it is before its last pull.
    """

    enhancement: float = number(least=0)
    blocks: int = number(least=1)
    prior: Prior

    def parameters(self, theta: Parameters, problem: Problem) -> Parameters:
        return super().parameters(theta, problem) | self.prior.initial(theta)

    def step(
        self, model: TaskModel, params: Parameters, state: InnerState, support: AnyExamples, number: int, draws: Draws
    ) -> InnerState:
        return self._enhanced(params, super().step(model, params, state, support, number, draws), number)

    def objective(
        self, model: TaskModel, params: Parameters, theta: Parameters, task: Task, draws: Draws
    ) -> ObjectiveOutput:
        """As Reptile's, for φ = (θ₀, log σ²), both by log p of the parameters before they are last pulled back.

        After that pull they would lie at θ₀ where β is large: there would be nothing to learn.
        """
        start, held = ({name: tensor.detach() for name, tensor in part.items()} for part in (theta, params))
        state = free = self.initial_state(held, start)
        for step in range(self.steps(testing=False)):
            free = super().step(model, held, state, task.support, step, draws)
            state = self._enhanced(held, free, step)
        outcome = self.query_loss(model, held, state, task)
        moves = {name: free.theta[name] - start[name] for name in start}
        away = {name: -self._precision(held, name) * move for name, move in moves.items()}
        slopes = self.prior.slopes(held, moves)
        learned = theta | {name: params[name] for name in slopes}
        return outcome._replace(objective=with_gradient(outcome.objective, learned, away | slopes))

    def _precision(self, params: Parameters, name: str) -> float | Tensor:
        """1/σ², but no more than 1/γ, so that θ₀ doesn't go past the mean of the tasks' θ_t."""
        variance, least = self.prior.of(params, name), self.outer.lr
        return 1 / (variance.clamp_min(least) if isinstance(variance, Tensor) else max(variance, least))

    def _enhanced(self, params: Parameters, state: InnerState, number: int) -> InnerState:
        """After inner step ``number``."""
        steps = max(self.inner_steps, 1)
        times = (number + 1) * self.blocks // steps - number * self.blocks // steps
        theta = state.theta
        for _ in range(times if self.enhancement else 0):
            # From the start, so that the whole way back ends there exactly.
            theta = {
                name: at + (1 - self._share(params, name)) * (theta[name] - at) for name, at in state.start.items()
            }
        return state._replace(theta=theta)

    def _share(self, params: Parameters, name: str) -> float | Tensor:
        """min(β/σ², 1)."""
        share = self.enhancement / self.prior.of(params, name)
        return share.clamp_max(1) if isinstance(share, Tensor) else min(share, 1.0)
