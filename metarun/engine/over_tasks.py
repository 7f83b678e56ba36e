"""The one place that maps what is written for a single task over many."""

from collections.abc import Callable
from typing import TypeVar

from torch.func import vmap

R = TypeVar("R")


def over_tasks(one: Callable[..., R], *, at_once: int | None = None) -> Callable[..., R]:
    """``one(φ, task, …)`` for many tasks: ``f(φ, tasks, …)``, whose results have a leading dimension of tasks.

    The first argument is the same for all tasks, and every tensor of the others has a row for each; ``None`` among them
    stays as it is. By `torch.func.vmap`, ``at_once`` tasks at a time; ``None``: all.
    """

    def mapped(shared: object, *each: object) -> R:
        places = (None, *(None if argument is None else 0 for argument in each))
        result: R = vmap(one, in_dims=places, chunk_size=at_once)(shared, *each)
        return result

    return mapped
