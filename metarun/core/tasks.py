"""Tasks: a support set to adapt to, and a query set for the loss and the metrics."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from metarun.core.inputs import Inputs, one_of, rows_of


class Examples(NamedTuple):
    """Labeled examples of one task.

    x: n inputs (`metarun.core.inputs.Inputs`); y: class numbers ``[n]`` (int64) or targets ``[n, outputs]`` (floating).
    """

    x: Inputs
    y: Tensor

    @property
    def mask(self) -> None:
        """No padding: all rows are examples."""
        return

    def rows(self, picked: Tensor | slice) -> "Examples":
        """The examples at these row numbers."""
        return Examples(rows_of(self.x, picked), self.y[picked])


class PaddedExamples(NamedTuple):
    """Examples of tasks that differ in size, padded to one length.

    mask: 1 for examples and 0 for padding rows, ``[n]``, in the dtype of the inputs. Padding rows hold finite values
    (zeros), and nothing computed from a task depends on them.
    """

    x: Inputs
    y: Tensor
    mask: Tensor

    def rows(self, picked: Tensor | slice) -> "PaddedExamples":
        """The examples at these row numbers."""
        return PaddedExamples(rows_of(self.x, picked), self.y[picked], self.mask[picked])


AnyExamples = Examples | PaddedExamples


class Task(NamedTuple):
    """One task.

    number: identifies it within its stream, a scalar int64. identity: which of the dataset's known tasks it is, a
    scalar int64, -1 where it is none of them. descriptor: what the dataset says of it, ``[features]``, often nothing.
    classes: which of its stream's classes each label stands for, int64 ``[ways]``; empty where labels have no such.
    source: which of its stream's tasks it is a visit to, where there are finitely many, a scalar int64; -1 where every
    task is drawn anew. Visits to one task are not independent of each other: see `metarun.core.intervals`.
    """

    support: AnyExamples
    query: AnyExamples
    number: Tensor
    identity: Tensor
    descriptor: Tensor
    classes: Tensor
    source: Tensor


TaskBatch = Task
"""T tasks stacked: a `Task` whose every tensor has a leading axis T. Only the engine and the datasets see one."""

SPLITS = ("train", "val", "test")


def batch(
    support: AnyExamples,
    query: AnyExamples,
    number: Tensor,
    identity: Tensor | None = None,
    descriptor: Tensor | None = None,
    classes: Tensor | None = None,
    source: Tensor | None = None,
) -> TaskBatch:
    """Tasks stacked, of which the dataset may know neither identity nor descriptor, classes nor source."""
    none = torch.full_like(number, -1)
    unknown = none if identity is None else identity
    nothing = one_of(support.x).new_zeros(len(number), 0) if descriptor is None else descriptor
    unnamed = number.new_zeros(len(number), 0) if classes is None else classes
    return TaskBatch(support, query, number, unknown, nothing, unnamed, none if source is None else source)


def chunks(tasks: TaskBatch, size: int) -> Iterator[TaskBatch]:
    """The batch in pieces of at most ``size`` tasks."""
    if len(tasks.number) <= size:
        yield tasks  # views of small tensors take longer than some computations on them
        return
    for first in range(0, len(tasks.number), size):
        yield tree_map(lambda tensor, first=first: tensor[first : first + size], tasks)
