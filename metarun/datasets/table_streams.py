"""Support and query rows of the tasks of a table: pools for each stream, and random draws from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metarun.core.counters import choose, keys, uniform
from metarun.core.errors import UserError
from metarun.core.fields import choice, number
from metarun.core.tasks import SPLITS
from metarun.datasets.base import STREAMS
from metarun.datasets.table_files import quoted

_SIZE = 2
"""The number of the key that sizes are drawn by; 0 and 1 are those of support and query rows."""
_TRAIN, _VAL, _TEST, _TRAIN_AND_VAL = (0, 1), (1, 2), (2, 3), (0, 2)
_POOLS = {
    # The splits (first, and the one behind the last) whose rows are a task's support, and its query.
    "rows": {
        "train": (_TRAIN, _TRAIN),
        "train_eval": (_TRAIN, _TRAIN),
        "val": (_TRAIN, _VAL),
        "test": (_TRAIN_AND_VAL, _TEST),
    },
    "tasks": {
        "train": (_TRAIN, _TRAIN),
        "train_eval": (_TRAIN, _TRAIN),
        "val": (_VAL, _VAL),
        "test": (_TEST, _TEST),
    },
}


@dataclass(kw_only=True)
class TableShape:
    """Keys shared by all datasets that are tables.

    ``shots`` and ``queries`` are rows of a task, None: as many as there are; half each where both are None and come
    from the same rows. ``train_shots`` and ``train_queries`` are for meta-training only, None: as the others.
    """

    path: str
    split: str = choice("rows", "tasks")
    fractions: list[float]
    shots: int | None = number(least=1)
    queries: int | None = number(least=1)
    train_shots: int | None = number(least=1)
    train_queries: int | None = number(least=1)

    def sizes(self, stream: str) -> tuple[int | None, int | None]:
        """Shots and queries of a stream's tasks."""
        if stream != "train":
            return self.shots, self.queries
        return self.train_shots or self.shots, self.train_queries or self.queries

    def least_shots(self, stream: str) -> int | None:
        """The fewest shots of the stream's tasks, where their number is drawn at every visit; None: it is not."""
        return None


class Draw(NamedTuple):
    """Rows of the table, int64 ``[T, n]``, -1 for padding; mask: bool, False for padding, or None: no padding."""

    rows: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class Pool:
    """Of each task ``take`` rows, out of ``count`` from row ``first`` on: int64 ``[tasks]`` each.

    most_rows, most_taken: the highest ``count`` and ``take`` of the stream's tasks. even: whether all take the same.
    """

    first: Tensor
    count: Tensor
    take: Tensor
    most_rows: int
    most_taken: int
    even: bool

    def shuffled(self, of: Tensor, tasks: Tensor, size: int | None) -> Tensor:
        """Places in the tasks' pools in random order: ``[T, size]``, or all, first, of ``[T, most_rows]``."""
        count = self.count[tasks]
        if size is not None:
            return choose(of, count, size)
        beyond = torch.arange(self.most_rows, device=of.device) >= count[:, None]
        return uniform(of, self.most_rows).masked_fill(beyond, 2).argsort(-1)

    def draw(self, order: Tensor, tasks: Tensor, skip: Tensor, take: Tensor | None = None) -> Draw:
        """The first rows of an ``order`` of the pools, but for the very first ``skip`` ``[T]``.

        take: how many, ``[T]``, up to those that the pool takes; None: all of these.
        """
        places = torch.arange(self.most_taken, device=order.device)
        within = (skip[:, None] + places).clamp(max=order.shape[1] - 1)
        rows = self.first[tasks][:, None] + order.gather(1, within)
        if self.even and take is None:
            return Draw(rows, None)
        mask = places < (self.take[tasks] if take is None else take)[:, None]
        return Draw(rows.where(mask, -1), mask)


@dataclass(frozen=True)
class Stream:
    """Where a stream's tasks take their examples from.

    members: its tasks, int64 ``[m]``. shared: whether both pools are of the same rows, of which the query then gets
    those that the support left. sizes: shots and queries, None: as many as there are. whole: whether every visit to a
    task takes all rows of both pools, in random order. least: the smallest support size: each visit draws a size
    uniformly between it and the largest; None: always the largest.
    """

    members: Tensor
    support: Pool
    query: Pool
    shared: bool
    sizes: tuple[int | None, int | None]
    whole: bool
    least: int | None = None

    def draw(self, of: Tensor, tasks: Tensor) -> tuple[Draw, Draw]:
        """Support and query for keys ``[T]`` and tasks ``[T]``, distinct rows in random order."""
        shots, queries = self.sizes
        none = torch.zeros_like(tasks)
        if self.shared:
            both = None if shots is None or queries is None else shots + queries
            order = self.support.shuffled(of, tasks, both)
            support = self.support.draw(order, tasks, none, self._take(of, tasks))
            return support, self.query.draw(order, tasks, self.support.take[tasks])
        first, second = keys(of[:, None], torch.arange(2, device=of.device)).unbind(-1)
        support = self.support.draw(self.support.shuffled(first, tasks, shots), tasks, none, self._take(of, tasks))
        return support, self.query.draw(self.query.shuffled(second, tasks, queries), tasks, none)

    def _take(self, of: Tensor, tasks: Tensor) -> Tensor | None:
        """How many rows the supports have where that is drawn."""
        if self.least is None:
            return None
        most = self.support.take[tasks]
        least = most.clamp(max=self.least)
        share = uniform(keys(of, torch.full_like(of, _SIZE)), 1)[:, 0]
        return least + (share * (most - least + 1)).long()


def streams(
    bounds: NDArray[np.int64], shape: TableShape, names: Sequence[str], device: torch.device
) -> dict[str, Stream]:
    """The streams over a table divided at ``bounds`` (`table_split.Division`), whose tasks have these names.

    Raises `UserError` where a task has too few rows, naming the keys to change.
    """
    return {stream: _stream(stream, bounds, shape, names, device) for stream in STREAMS}


def _stream(
    stream: str, bounds: NDArray[np.int64], shape: TableShape, names: Sequence[str], device: torch.device
) -> Stream:
    pools = _POOLS[shape.split][stream]
    shared = pools[0] == pools[1]
    first, counts = zip(*((bounds[:, low], bounds[:, high] - bounds[:, low]) for low, high in pools), strict=True)
    members = np.flatnonzero(counts[1])
    shots, queries = shape.sizes(stream)
    _refuse_shortage(
        stream, shape, shared, [count[members] for count in counts], [names[task] for task in members.tolist()]
    )
    takes = [np.full_like(count, size or 0) for count, size in zip(counts, (shots, queries), strict=True)]
    if shared:
        if shots is None:
            takes[0] = counts[0] // 2 if queries is None else counts[0] - queries
        if queries is None:
            takes[1] = counts[0] - takes[0]
    else:
        takes = [
            count if size is None else take for count, take, size in zip(counts, takes, (shots, queries), strict=True)
        ]

    def pool(role: int) -> Pool:
        count, take = counts[role][members], takes[role][members]
        return Pool(
            torch.tensor(first[role], device=device),
            torch.tensor(counts[role], device=device),
            torch.tensor(takes[role], device=device),
            most_rows=int(count.max()),
            most_taken=int(take.max()),
            even=bool((take == take[0]).all()),
        )

    # Of a shared pool, support and query take a part each.
    whole = all(bool((take[members] == count[members]).all()) for take, count in zip(takes, counts, strict=True))
    least = shape.least_shots(stream)
    return Stream(
        torch.from_numpy(members).to(device),
        *(pool(0), pool(1), shared, (shots, queries)),
        whole=whole and least is None,
        least=least,
    )


def _refuse_shortage(
    stream: str, shape: TableShape, shared: bool, counts: Sequence[NDArray[np.int64]], names: Sequence[str]
) -> None:
    """Refuse episodes that a task cannot fill: ``counts`` of rows for support and for query, ``[m]`` each."""
    sizes = shape.sizes(stream)
    keys_of = [
        f"train_{key}" if stream == "train" and getattr(shape, f"train_{key}") is not None else key
        for key in ("shots", "queries")
    ]
    given = [f"dataset.{key}={'null' if size is None else size}" for key, size in zip(keys_of, sizes, strict=True)]
    if shared:
        needed = sum(size or 1 for size in sizes)
        least = int(counts[0].argmin())
        has = int(counts[0][least])
        if has < needed:
            change = f"choose {keys_of[0]} + {keys_of[1]} up to {has}, or " if has > 1 else ""
            raise UserError(
                f"{given[0]} and {given[1]} need {needed} rows of a task, but task {quoted(names[least])} has "
                f"{has} for {_told(stream)}; {change}leave the task out of {shape.path}"
            )
        return
    for setting, size, count in zip(given, sizes, counts, strict=True):
        least = int(count.argmin())
        if count[least] < (size or 1):
            raise UserError(
                f"{setting}: task {quoted(names[least])} has {count[least]} such rows for {_told(stream)}; "
                f"choose up to {count[least]}, null for all, or leave the task out of {shape.path}"
            )


def _told(stream: str) -> str:
    return f"meta-{stream}" if stream in SPLITS else "measuring meta-train tasks"
