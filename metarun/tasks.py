"""What a task is: a support set to adapt on and a query set to be judged on."""

from typing import NamedTuple

from torch import Tensor


class Examples(NamedTuple):
    """Labelled examples of one task.

    x: inputs, ``[n, ...]``; y: class numbers ``[n]`` (int64) or targets ``[n, outputs]`` (floating).
    """

    x: Tensor
    y: Tensor


class Task(NamedTuple):
    """One task. ``number`` identifies it within its split: a scalar int64 tensor."""

    support: Examples
    query: Examples
    number: Tensor


TaskBatch = Task
"""T tasks stacked: a `Task` whose every tensor has a leading axis T. Only the engine and the datasets see one."""

SPLITS = ("train", "val", "test")
