"""Conversion of table columns to tasks, features and targets."""

import hashlib
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metarun.core.errors import UserError
from metarun.datasets.table_files import TableFile, quoted

MOST_CATEGORIES = 20
"""Different words that a feature column may hold."""
_LARGEST = 1e100
"""Far beyond any measurement, and its square is still a number."""
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
"""What a number looks like. ``float`` also takes 1_0 for 10, words such as ``infinity``, and digits of any script."""
_MISSING = frozenset(
    ("", "na", "n/a", "null", "?", *(f"{sign}{word}" for sign in ("", "+", "-") for word in ("nan", "inf", "infinity")))
)


class TaskRows(NamedTuple):
    """A table in numbers.

    source: its file. task: which task each row is of, int64 ``[rows]``; tasks: their names. features: float64
    ``[rows, features]``; names: theirs. target: float64 ``[rows]``, or class numbers, int64 ``[rows]``; classes: their
    names, None for regression. groups: int64 ``[tasks]``, equal for tasks that must stay in one split; None: every task
    may be in any. descriptors: float64 ``[tasks, n]``; None: the feature columns that are constant within tasks.
    scaled: whether the features have a common scale already, so that they are not standardized.
    """

    source: str
    task: NDArray[np.int64]
    tasks: tuple[str, ...]
    features: NDArray[np.float64]
    names: tuple[str, ...]
    target: NDArray[Any]
    classes: tuple[str, ...] | None
    groups: NDArray[np.int64] | None = None
    descriptors: NDArray[np.float64] | None = None
    scaled: bool = False

    @property
    def ways(self) -> int | None:
        """How many classes there are, None for regression."""
        return None if self.classes is None else len(self.classes)

    @property
    def fingerprint(self) -> str:
        """A hash of all names and numbers, the same for equal tables wherever they are stored."""
        content = hashlib.blake2b(repr((self.tasks, self.names, self.classes)).encode(), digest_size=8)
        optional = [array for array in (self.groups, self.descriptors) if array is not None]
        for array in (self.task, self.features, self.target, *optional):
            content.update(np.ascontiguousarray(array).tobytes())
        return content.hexdigest()


def numbered(table: TableFile, task: str, target: str, features: Sequence[str] | None, kind: str) -> TaskRows:
    """The table with these columns as task, target (of this kind) and features (None: all others).

    What names a task is text: ``1``, ``01`` and ``1.0`` are three tasks, and ``NaN`` is one. Tasks are in order of
    value if all look like numbers, otherwise of name. Classes are told apart, and ordered, by value if all are
    numbers, otherwise by name. A feature column of words becomes one column of zeros and ones for each word, in order
    of name. Raises `UserError` for columns that are not there, cells that are empty or not finite, and words where
    numbers are needed.
    """
    chosen = _chosen(table, task, target, features)
    tasks, task_of = _keys(table, task)
    columns = [column for name in chosen for column in _feature(table, name)]
    values, classes = _classes(table, target) if kind == "classification" else (_target(table, target), None)
    return TaskRows(
        table.path,
        task_of,
        tuple(tasks),
        np.stack([column for _, column in columns], 1),
        tuple(name for name, _ in columns),
        values,
        classes,
    )


def constant_within_tasks(rows: TaskRows) -> NDArray[np.float64]:
    """``[tasks, columns]``: the feature columns that are the same in all rows of a task, but not in all tasks."""
    order = np.argsort(rows.task, kind="stable")
    starts = np.searchsorted(rows.task[order], np.arange(len(rows.tasks)))
    lowest = np.minimum.reduceat(rows.features[order], starts)
    highest = np.maximum.reduceat(rows.features[order], starts)
    return lowest[:, (lowest == highest).all(0) & (lowest != lowest[0]).any(0)]


def _chosen(table: TableFile, task: str, target: str, features: Sequence[str] | None) -> list[str]:
    """The feature columns' names."""
    for setting, name in (("task", task), ("target", target)):
        if name not in table.names:
            raise table.unknown(f"dataset.{setting}", name)
    if task == target:
        raise UserError(f"dataset.target={target}: is the task column; the column to predict is expected")
    if features is None:
        chosen = [name for name in table.names if name not in (task, target)]
        if not chosen:
            raise UserError(f"{table.path} has no feature columns besides the task and the target")
        return chosen
    if not features:
        raise UserError("dataset.features=[]: name at least one column, or null for all but task and target")
    for place, name in enumerate(features):
        if name not in table.names:
            raise table.unknown("dataset.features", name, features)
        if name in (task, target):
            raise UserError(f"dataset.features: {name!r} is the {'task' if name == task else 'target'} column")
        if name in features[:place]:
            raise UserError(f"dataset.features: {name!r} is given twice")
    return list(features)


def _feature(table: TableFile, name: str) -> list[tuple[str, NDArray[np.float64]]]:
    """The column, or the columns that its words become, named."""
    cells = _complete(table, name)
    values = _numbers(table, name, cells)
    if values is not None:
        return [(name, values)]
    words = sorted(set(cells))
    if len(words) > MOST_CATEGORIES:
        row = _first_word(cells)
        raise table.error(
            row,
            name,
            f"{quoted(cells[row])} is not a number, and a categorical column may have at most {MOST_CATEGORIES} "
            f"distinct values, not {len(words)}; correct the cell, or leave the column out of dataset.features",
        )
    which = np.array(cells)
    return [(f"{name}={word}", (which == word).astype(np.float64)) for word in words]


def _target(table: TableFile, name: str) -> NDArray[np.float64]:
    cells = _complete(table, name)
    values = _numbers(table, name, cells)
    if values is None:
        row = _first_word(cells)
        raise table.error(
            row, name, f"{quoted(cells[row])} is not a number; for class labels, set dataset.kind=classification"
        )
    return values


def _classes(table: TableFile, name: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    classes, class_of = _told_apart(_complete(table, name))
    if len(classes) < 2:
        raise UserError(f"{table.path}: column {quoted(name)} has one class, {quoted(classes[0])}; two are needed")
    return class_of, tuple(classes)


def _complete(table: TableFile, name: str) -> list[str]:
    """The column's cells, none of them missing."""
    cells = table.column(name)
    for row, cell in enumerate(cells):
        if cell.lower() in _MISSING:
            said = f"{quoted(cell)} is not finite" if cell.lower().endswith(("inf", "infinity")) else "missing value"
            shown = f" ({quoted(cell)})" if cell and said == "missing value" else ""
            raise table.error(row, name, f"{said}{shown}; fill it in, or delete the row or the column")
    return cells


def _numbers(table: TableFile, name: str, cells: Sequence[str]) -> NDArray[np.float64] | None:
    """The cells as finite numbers, None where one is a word."""
    if not all(map(_is_number, cells)):
        return None
    values = np.array([float(cell) for cell in cells])
    if not (np.abs(values) < _LARGEST).all():
        row = int(np.argmin(np.abs(values) < _LARGEST))
        raise table.error(row, name, f"{quoted(cells[row])} is too large a number")
    return values


def _keys(table: TableFile, name: str) -> tuple[list[str], NDArray[np.int64]]:
    """The different texts of a column that names something, in order, and which of them each cell is."""
    cells = table.column(name)
    for row, cell in enumerate(cells):
        if not cell:
            raise table.error(row, name, "missing value; fill it in, or delete the row")
    values = {text: _exact(text) for text in set(cells)}
    by_name = None in values.values()
    texts = sorted(values, key=lambda text: ("" if by_name else values[text], text))
    place = {text: number for number, text in enumerate(texts)}
    return texts, np.array([place[cell] for cell in cells])


def _told_apart(cells: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """The different cells in order, and which of them each is: by value where all are numbers, else as text.

    A number that is written in several ways goes by the shortest.
    """
    # Long numbers that name a class may differ by less than a float can hold.
    values = {text: _exact(text) for text in sorted(set(cells), key=lambda text: (len(text), text))}
    meanings: dict[str, Any] = {text: text for text in values} if None in values.values() else values
    names: dict[Any, str] = {}
    for text, meaning in meanings.items():
        names.setdefault(meaning, text)
    place = {meaning: number for number, meaning in enumerate(sorted(names))}
    return [names[meaning] for meaning in place], np.array([place[meanings[cell]] for cell in cells])


def _exact(cell: str) -> Decimal | None:
    """The number that a cell holds, None where it holds a word."""
    try:
        return Decimal(cell) if _is_number(cell) else None
    except ArithmeticError:  # of an exponent beyond all bounds
        return None


def _first_word(cells: Sequence[str]) -> int:
    return next(row for row, cell in enumerate(cells) if not _is_number(cell))


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None
