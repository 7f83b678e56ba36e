"""An inner optimizer whose moments outlive the task, as in the code of Reptile's authors.

There, one Adam of TensorFlow makes the inner steps of all tasks. Parameters are set back to the start between tasks,
but the second moments and the number of steps, which corrects their bias, go on through all of meta-training; a test
task begins with what they are after it, and puts them back.

Here the tasks of a meta-batch are computed side by side, each from the moments as the last meta-update left them, and
what is remembered is the mean over tasks of the moments where their inner loops end. In the authors' code a task begins
from the moments after the task before it in the same meta-batch. Since a meta-update counts as the inner steps of one
task, not of all T, the moving average reaches T times as many meta-updates back.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from metarun.models.base import Parameters
from metarun.models.inner_optimizer import InnerOptimizer, OptimizerState
from metarun.models.memory import Memory

PREFIX = "optimizer."
"""How the names of its entries begin, in a `Memory`."""
STEPS = PREFIX + "steps"
"""Name of the number of inner steps that the moments have seen, a scalar."""


def initial(optimizer: InnerOptimizer, theta: Parameters) -> Parameters:
    """Moments of zero for parameters ``theta``, that have seen no step; nothing where the optimizer has none."""
    if not optimizer.moments:
        return {}
    moments = {_key(part, n): torch.zeros_like(t) for part in optimizer.moments for n, t in theta.items()}
    return {**moments, STEPS: next(iter(theta.values())).new_zeros(())}


def recalled(optimizer: InnerOptimizer, memory: Memory, names: Iterable[str]) -> tuple[OptimizerState, Tensor | int]:
    """The state for the parameters of these names with which a task begins, and the number of steps behind it."""
    if not optimizer.moments:
        return {}, 0
    names = list(names)
    return {part: {n: memory.held[_key(part, n)] for n in names} for part in optimizer.moments}, memory.held[STEPS]


def report(optimizer: InnerOptimizer, memory: Memory, state: OptimizerState, steps: Tensor | int) -> None:
    """Report the state after ``steps`` steps to the memory."""
    for part in optimizer.moments:
        for name, tensor in state[part].items():
            memory.report(_key(part, name), tensor)
    if optimizer.moments:
        memory.report(STEPS, torch.as_tensor(steps))


def _key(part: str, name: str) -> str:
    return f"{PREFIX}{part}.{name}"
