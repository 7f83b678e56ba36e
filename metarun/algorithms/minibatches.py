"""Minibatches of a support set, in a random order that belongs to the task."""

import torch
from torch import Tensor

from metarun import counters

_ORDER = counters.key(0, "minibatches")


def minibatches(tasks: Tensor, examples: int, steps: int, size: int) -> Tensor:
    """Which of ``examples`` support examples each inner step sees: ``[T, steps, size]`` for task numbers ``[T]``.

    The support set is passed over again and again, in a new order each time, and a minibatch may span two passes, as
    in the reference implementation of Nichol et al. 2018. The order is a pure function of the task's number.
    """
    passes = torch.arange(-(-steps * size // examples), device=tasks.device)
    keys = counters.keys(counters.keys(_ORDER, tasks).unsqueeze(-1), passes)
    order = counters.uniform(keys, examples).argsort(-1).flatten(1)
    return order[:, : steps * size].unflatten(1, (steps, size))
