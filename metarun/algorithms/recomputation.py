"""The gradient through a long inner loop in the memory of one step.

Chen et al. 2016, "Training deep nets with sublinear memory cost", with every inner step a segment: automatic
differentiation would keep all that every step computed until the way back. Here the way there keeps only where the loop
stood after each step, and the way back computes one step at a time again.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.func import vjp
from torch.utils._pytree import tree_map

from metarun.algorithms.base import Draws, InnerState, ObjectiveOutput, with_gradient
from metarun.core.tasks import AnyExamples, Task
from metarun.models.base import Parameters, TaskModel


class InnerLoop(Protocol):
    """What is needed of an `Unrolled` algorithm, whose methods these are."""

    def steps(self, testing: bool) -> int: ...

    def initial_state(self, params: Parameters, theta: Parameters) -> InnerState: ...

    def step(
        self, model: TaskModel, params: Parameters, state: InnerState, support: AnyExamples, number: int, draws: Draws
    ) -> InnerState: ...

    def query_loss(self, model: TaskModel, params: Parameters, state: InnerState, task: Task) -> ObjectiveOutput: ...


def recomputed(
    algorithm: InnerLoop, model: TaskModel, params: Parameters, theta: Parameters, task: Task, draws: Draws
) -> ObjectiveOutput:
    """As `Unrolled.objective`, to rounding."""
    steps = algorithm.steps(testing=False)
    held: Parameters = _detached(params)

    def step(number: int, params: Parameters, state: InnerState) -> InnerState:
        return algorithm.step(model, params, state, task.support, number, draws)

    def loss(params: Parameters, state: InnerState) -> Tensor:
        return algorithm.query_loss(model, params, state, task).objective

    states = [_detached(algorithm.initial_state(params, theta))]
    for number in range(steps):
        states.append(_detached(step(number, held, states[-1])))
    last = algorithm.query_loss(model, held, states[-1], task)

    weights = {steps: torch.ones_like(last.objective)}
    if "step_weights" in draws:
        weights = dict(enumerate(draws["step_weights"], 1))
    total = torch.zeros_like(last.objective)
    own_slope, slope = tree_map(torch.zeros_like, (held, states[-1]))
    for place in range(steps, -1, -1):
        if place in weights:
            value, back = _with_pullback(loss, held, states[place])
            total = total + weights[place] * value
            own_slope, slope = tree_map(torch.add, (own_slope, slope), back(weights[place]))
        if place:
            _, back = _with_pullback(partial(step, place - 1), held, states[place - 1])
            own_part, slope = back(slope)
        else:
            _, back = _with_pullback(algorithm.initial_state, held, _detached(theta))
            own_part, slope = back(slope)
        own_slope = tree_map(torch.add, own_slope, own_part)
    objective = with_gradient(total, theta, slope) + with_gradient(torch.zeros_like(total), params, own_slope)
    return ObjectiveOutput(objective, last.adapted, last.prediction)


def _detached(tree: Any) -> Any:
    return tree_map(torch.detach, tree)


def _with_pullback(function: Callable[..., Any], *point: Any) -> tuple[Any, Callable[..., Any]]:
    """The function's value, and what carries a slope of the value back to one of the point."""
    value, back, *_ = vjp(function, *point)
    return value, back
