"""Minibatches of a support set, in a random order that belongs to the task."""

import torch
from torch import Tensor

from metarun.core import counters
from metarun.core.tasks import AnyExamples

_ORDER = counters.key(0, "minibatches")
"""The purpose alone: the run's seed is in the numbers of the tasks (`Learner.draws`)."""


def minibatches(tasks: Tensor, support: AnyExamples, steps: int, size: int) -> Tensor:
    """Which support examples each inner step sees: ``[T, steps, size]`` for task numbers ``[T]`` and support sets.

    The support set is passed over again and again, in a new order each time, and a minibatch may span two passes, as
    in the reference implementation of Nichol et al. 2018. The order is a pure function of the task's number. Rows
    that only fill up are passed by.
    """
    rows = support.y.shape[1]
    examples = torch.full_like(tasks, rows) if support.mask is None else support.mask.sum(-1).long()
    fewest = rows if support.mask is None else int(examples.min())
    passes = torch.arange(-(-steps * size // fewest), device=tasks.device)
    keys = counters.keys(counters.keys(_ORDER, tasks).unsqueeze(-1), passes)
    rank = counters.uniform(keys, rows)
    if support.mask is not None:
        rank = torch.where(support.mask[:, None] > 0, rank, 2.0)  # behind every example
    places = torch.arange(steps * size, device=tasks.device)
    flat = places // examples[:, None] * rows + places % examples[:, None]
    return rank.argsort(-1).flatten(1).gather(1, flat).unflatten(1, (steps, size))
