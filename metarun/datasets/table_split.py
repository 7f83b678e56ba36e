"""Meta-train, meta-val and meta-test of a table: of its tasks, or of the rows of every task."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from metarun.core.counters import key, keys, uniform
from metarun.core.errors import UserError
from metarun.core.names import nearest
from metarun.core.plural import counted
from metarun.core.tasks import SPLITS
from metarun.datasets.table_columns import TaskRows
from metarun.datasets.table_files import quoted

_LEAST_TRAIN_ROWS = 2  # one to adapt on, one to be judged on


class Division(NamedTuple):
    """An order of a table's rows in which those of one task, and of one split of it, are neighbors.

    order: row numbers ``[rows]``. bounds: int64 ``[tasks, 4]``; after ordering, rows ``bounds[t, s]`` to
    ``bounds[t, s + 1] - 1`` are those of task t in split number s of `metarun.core.tasks.SPLITS`, in random order.
    """

    order: NDArray[np.int64]
    bounds: NDArray[np.int64]

    @property
    def train(self) -> NDArray[np.bool_]:
        """Which rows, after ordering, are of meta-training."""
        marks = np.zeros(len(self.order) + 1, np.int64)
        np.add.at(marks, self.bounds[:, 0], 1)
        np.add.at(marks, self.bounds[:, 1], -1)
        return marks.cumsum()[:-1] > 0


def divided(
    rows: TaskRows, split: str, fractions: Sequence[float], seed: int, test_tasks: Sequence[str] | None = None
) -> Division:
    """The table's ``rows`` (of each task) or ``tasks`` divided at random by these fractions of their number.

    Every split gets one at least. Tasks of one group are divided as one. test_tasks: with ``split=tasks``, the names of
    the meta-test tasks, which brings along their groups; the rest is divided by the other two fractions.

    Raises `UserError` for fractions that are none, for unknown names, and where there are too few tasks or rows.
    """
    given = f"dataset.fractions=[{','.join(f'{fraction:g}' for fraction in fractions)}]"
    if len(fractions) != 3 or min(fractions) <= 0 or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise UserError(f"{given}: give three above 0 that add up to 1, for meta-train, meta-val and meta-test")
    least = 3 if split == "tasks" else 2
    if len(rows.tasks) < least:
        raise UserError(
            f"{rows.source}: the table has {counted(len(rows.tasks), 'task')}; dataset.split={split} needs {least}"
        )
    # A row's place depends on its task and on its number in it, not on the rest of the table.
    count = np.bincount(rows.task, minlength=len(rows.tasks))
    first = count.cumsum() - count
    by_task = np.argsort(rows.task, kind="stable")
    number = np.empty_like(rows.task)
    number[by_task] = np.arange(len(by_task)) - first.repeat(count)
    of_task = keys(key(seed, "dataset", "table", "rows"), torch.from_numpy(rows.task))
    place = uniform(keys(of_task, torch.from_numpy(number)), 1)[:, 0].numpy()
    order = np.lexsort((place, rows.task))
    if split == "tasks":
        bounds = _by_task(rows, count, fractions, given, seed, test_tasks)
    else:
        bounds = _by_row(rows, count, fractions, given, seed)
    return Division(order, first[:, None] + bounds)


def _by_row(
    rows: TaskRows, count: NDArray[np.int64], fractions: Sequence[float], given: str, seed: int
) -> NDArray[np.int64]:
    sizes = _sizes(count, fractions)
    smallest = int(sizes[:, 0].argmin())
    if sizes[smallest, 0] < _LEAST_TRAIN_ROWS:
        raise UserError(
            f"{rows.source}: task {quoted(rows.tasks[smallest])} has {counted(int(count[smallest]), 'row')}, too few "
            f"for {given} of each task, which must leave {_LEAST_TRAIN_ROWS} for meta-train and 1 each for the others"
        )
    return np.concatenate([np.zeros((len(count), 1), np.int64), sizes.cumsum(1)], 1)


def _by_task(
    rows: TaskRows,
    count: NDArray[np.int64],
    fractions: Sequence[float],
    given: str,
    seed: int,
    test_tasks: Sequence[str] | None,
) -> NDArray[np.int64]:
    groups = np.arange(len(count)) if rows.groups is None else np.unique(rows.groups, return_inverse=True)[1]
    many = int(groups.max()) + 1
    order = uniform(torch.tensor(key(seed, "dataset", "table", "tasks")), many).argsort().numpy()
    split = np.full(many, len(SPLITS) - 1)
    if test_tasks is None:
        sizes = _sizes(np.array([many]), fractions)[0]
    else:
        chosen = _groups_of(rows, groups, test_tasks)
        order = order[~np.isin(order, chosen)]
        given = f"dataset.test_tasks=[{','.join(test_tasks)}]"
        val = max(int(len(order) * fractions[1] / (fractions[0] + fractions[1]) + 0.5), 1)
        sizes = np.array([len(order) - val, val])
    if sizes[0] < 1:
        what = "tasks" if rows.groups is None else "groups of tasks"
        raise UserError(f"{given}: leaves none of the {many} {what} of {rows.source} for meta-train")
    split[order] = np.arange(len(sizes)).repeat(sizes)
    return count[:, None] * (np.arange(len(SPLITS) + 1) > split[groups][:, None])


def _groups_of(rows: TaskRows, groups: NDArray[np.int64], names: Sequence[str]) -> NDArray[np.int64]:
    """The groups of the tasks with these names."""
    if not names:
        raise UserError("dataset.test_tasks=[]: name at least one task, or null to draw them at random")
    place = {name: number for number, name in enumerate(rows.tasks)}
    for name in names:
        if name not in place:
            raise UserError(f"dataset.test_tasks: {rows.source} has no task {quoted(name)}{nearest(name, rows.tasks)}")
    return groups[[place[name] for name in names]]


def _sizes(count: NDArray[np.int64], fractions: Sequence[float]) -> NDArray[np.int64]:
    """How many of each ``count`` fall into each split, ``[…, 3]``; meta-train gets what the others leave."""
    val, test = (np.maximum(np.floor(count * fraction + 0.5).astype(np.int64), 1) for fraction in fractions[1:])
    return np.stack([count - val - test, val, test], -1)
