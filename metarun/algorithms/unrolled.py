"""The outer rule of the MAML family: the query loss, differentiated through the inner loop."""

from dataclasses import dataclass

from torch import Tensor

from metarun.algorithms import step_norms
from metarun.algorithms.base import Draws, InnerState, ObjectiveOutput
from metarun.algorithms.gradient_based import LearnedStart
from metarun.algorithms.inner_rates import PREFIX, InnerRates
from metarun.algorithms.recomputation import recomputed
from metarun.core.errors import UserError
from metarun.core.fields import choice, number
from metarun.core.inputs import one_of
from metarun.core.tasks import AnyExamples, Task, TaskBatch
from metarun.datasets.base import Problem
from metarun.models.base import NORMS, Parameters, TaskModel

PARTS_OF_NORMS: dict[str, tuple[str, ...]] = {"gain": (".weight",), "shift": (".bias",), "none": ()}
"""Suffixes of the parameters of a normalization layer."""


@dataclass(kw_only=True)
class Unrolled(LearnedStart):
    """The outer loop differentiates the query loss through the inner loop.

    inner_lr: α, or the range of initial step sizes. rates: their granularity, and whether they are learned. order: with
    1 the inner gradients are constants of the outer loop, so that the meta-gradient is ∇L_Q at θ' (Finn et al. 2017,
    section 5.2).

    Three parts of MAML++ (Antoniou et al. 2019, section 4) can be combined with any method of this family.
    multi_step_share: in this first fraction of meta-training the losses after all inner steps are included, initially
    with equal weights, those of earlier steps with decreasing ones (equation 4). first_order_share: in this first
    fraction the order is 1; it is computed like order 2, so no time is saved. step_norms: every inner step has its own
    learned gain and shift in each normalization layer, which do not adapt.

    inner_norms: parameters of normalization layers that adapt: ``all``, the ``gain`` or the ``shift``, or ``none``; the
    outer loop learns all of them.

    contexts: number of context parameters of the task model (`metarun.models.base.CONTEXT`).

    recompute: the backward pass of the outer loop recomputes each inner step instead of storing it, so that memory does
    not grow with the number of inner steps.
    """

    inner_lr: float | list[float] = number(above=0)
    rates: InnerRates
    order: int = number(least=1, most=2)
    first_order_share: float = number(least=0, most=1)
    multi_step_share: float = number(least=0, most=1)
    step_norms: bool
    inner_norms: str = choice("all", "gain", "shift", "none")
    recompute: bool
    contexts: int = number(least=0)

    def __post_init__(self) -> None:
        if isinstance(self.inner_lr, list) and (len(self.inner_lr) != 2 or self.inner_lr[0] > self.inner_lr[1]):
            raise UserError(f"algorithm.inner_lr={self.inner_lr}: give one positive number, or two in increasing order")
        low, high = self._between
        for word, bound, start, beyond in (
            ("least", self.rates.least, low, self.rates.least is not None and low < self.rates.least),
            ("most", self.rates.most, high, self.rates.most is not None and high > self.rates.most),
        ):
            if self.rates.learned and beyond:
                raise UserError(
                    f"algorithm.rates.{word}={bound:g}: step sizes start at algorithm.inner_lr={start:g}, beyond that "
                    "bound; change one of them"
                )
        if self.first_order_share and self.order == 1:
            raise UserError(
                f"algorithm.first_order_share={self.first_order_share:g}: with algorithm.order=1 all of meta-training "
                "is first order; set algorithm.first_order_share=0 or algorithm.order=2"
            )
        if self.recompute and self.order == 1:
            raise UserError(
                "algorithm.recompute=true: with algorithm.order=1 no inner steps are stored that could be "
                "computed again; set algorithm.recompute=false or algorithm.order=2"
            )
        if self.multi_step_share and not self.inner_steps:
            raise UserError(
                f"algorithm.multi_step_share={self.multi_step_share:g}: there are no inner steps whose losses could "
                "count; set algorithm.multi_step_share=0 or algorithm.inner_steps=1"
            )

    @property
    def recomputes(self) -> bool:
        return self.recompute

    @property
    def context_size(self) -> int:
        return self.contexts

    @property
    def second_order(self) -> bool:
        return self.order == 2

    @property
    def _constant_rate(self) -> float | None:
        """The step size if there is a single, fixed one."""
        plain = isinstance(self.inner_lr, float | int) and not self.rates.learned
        return float(self.inner_lr) if plain else None  # type: ignore[arg-type]

    @property
    def _between(self) -> list[float]:
        """The range of initial step sizes."""
        return self.inner_lr if isinstance(self.inner_lr, list) else [self.inner_lr, self.inner_lr]

    @property
    def highest_rate(self) -> float:
        """The largest initial step size."""
        return self._between[1]

    def clamp(self, params: Parameters) -> None:
        self.rates.clamp(params, self.highest_rate)

    def is_frozen(self, name: str) -> bool:
        return name.startswith(PREFIX) and not self.rates.learned

    def parameters(self, theta: Parameters, problem: Problem) -> Parameters:
        params: Parameters = {}
        moving = {name: tensor for name, tensor in theta.items() if self.adapts(name)}
        if self._constant_rate is None:
            params = self.rates.initial(self._between, moving, self.inner_steps)
        return params | step_norms.initial(theta, self.inner_steps) if self.step_norms else params

    def adapts(self, name: str) -> bool:
        if not name.startswith(NORMS):
            return True
        return not self.step_norms and (self.inner_norms == "all" or name.endswith(PARTS_OF_NORMS[self.inner_norms]))

    def rate(self, params: Parameters, name: str, step: int) -> float | Tensor:
        constant = self._constant_rate
        return self.rates.rate(params, name, step, self.highest_rate) if constant is None else constant

    def draws(self, tasks: TaskBatch, testing: bool, progress: float) -> Draws:
        draws = super().draws(tasks, testing, progress)
        if testing:
            return draws
        everywhere = tasks.descriptor.new_ones(len(tasks.number))  # of the inputs' precision, on their device
        if self.first_order_share:
            draws["second_order"] = everywhere * (progress >= self.first_order_share)
        if progress < self.multi_step_share:
            early = (1 - progress / self.multi_step_share) / self.inner_steps
            weights = everywhere.new_full((len(everywhere), self.inner_steps), early)
            weights[:, -1] = 1 - early * (self.inner_steps - 1)
            draws["step_weights"] = weights
        return draws

    def gradient_point(self, theta: Parameters, draws: Draws) -> Parameters:
        constant = super().gradient_point(theta, draws)
        if not self.second_order:
            return constant
        if "second_order" not in draws:
            return theta
        return {name: tensor + draws["second_order"] * (theta[name] - tensor) for name, tensor in constant.items()}

    def initial_state(self, params: Parameters, theta: Parameters) -> InnerState:
        return super().initial_state(params, step_norms.placed(params, theta, 0, None))

    def step(
        self, model: TaskModel, params: Parameters, state: InnerState, support: AnyExamples, number: int, draws: Draws
    ) -> InnerState:
        state = super().step(model, params, state, support, number, draws)
        return state._replace(theta=step_norms.placed(params, state.theta, number + 1, number))

    def objective(
        self, model: TaskModel, params: Parameters, theta: Parameters, task: Task, draws: Draws
    ) -> ObjectiveOutput:
        if self.recompute:
            return recomputed(self, model, params, theta, task, draws)
        if "step_weights" not in draws:
            return super().objective(model, params, theta, task, draws)
        state, total = self.initial_state(params, theta), one_of(task.query.x).new_zeros(())
        for step, weight in enumerate(draws["step_weights"]):
            state = self.step(model, params, state, task.support, step, draws)
            outcome = self.query_loss(model, params, state, task)
            total = total + weight * outcome.objective
        return outcome._replace(objective=total)
