"""A data set for scikit-learn's models: a table with a target column, from a file or from arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarun.automl.columns import CATEGORY, IGNORED, NUMBER, column_kinds, is_missing, numbers, words
from metarun.automl.models import CLASSIFICATION, REGRESSION
from metarun.core.errors import UserError
from metarun.core.names import listed
from metarun.datasets.table_files import TableFile, quoted
from metarun.datasets.table_files import read as read_table

MOST_CLASSES = 100
LEAST_ROWS = 20
_FEW_NUMBERS = 10
"""A target of integers with at most as many different values is classified."""


@dataclass(frozen=True)
class Tabular:
    """A table with a target.

    x: numbers, or cells of text, ``[n, d]``. names, columns: name and kind of each column
    (`metarun.automl.columns.column_kinds`). y: class numbers, int64 ``[n]``, or float64 ``[n]``. classes: names of the
    classes; None for regression.
    """

    x: Any
    names: tuple[str, ...]
    columns: tuple[str, ...]
    y: NDArray[Any]
    classes: tuple[str, ...] | None

    @property
    def kind(self) -> str:
        """``classification`` or ``regression``."""
        return REGRESSION if self.classes is None else CLASSIFICATION

    def rows(self, which: NDArray[np.int64]) -> "Tabular":
        """The table of these rows alone; classes keep their numbers."""
        return Tabular(self.x[which], self.names, self.columns, self.y[which], self.classes)


def of_arrays(x: Any, y: Any, kind: str, names: Sequence[str] | None = None) -> Tabular:
    """A data set of complete arrays: x ``[n, d]``, y class labels or numbers ``[n]``."""
    known = tuple(names) if names is not None else tuple(f"x{place}" for place in range(x.shape[1]))
    if kind == REGRESSION:
        return Tabular(x, known, column_kinds(x), np.asarray(y, np.float64), None)
    classes, numbered = np.unique(y, return_inverse=True)
    return Tabular(x, known, column_kinds(x), numbered.astype(np.int64), tuple(map(str, classes.tolist())))


def read(path: str, target: str, kind: str | None, exclude: Sequence[str], place: str, least: int) -> Tabular:
    """The data set in a table file, of which rows without a target are left out.

    kind: None: classification where the target has words or at most ten different integers, else regression. exclude:
    columns to leave out. place: the setting or argument that names the file, for messages. least: rows that are
    needed. Raises `UserError` for what cannot be learned from; see `refuse_unsuitable`.
    """
    try:
        table = read_table(path)
    except UserError as error:
        raise UserError(str(error).replace("dataset.path=", f"{place}=", 1)) from error
    if target not in table.names:
        raise table.unknown("target", target)
    for name in exclude:
        if name not in table.names:
            raise table.unknown("recommend.exclude", name, exclude)
        if name == target:
            raise UserError(f"recommend.exclude: {quoted(name)} is the target")
    names = tuple(name for name in table.names if name != target and name not in exclude)
    if not names:
        raise UserError(f"{path} has no column besides the target {quoted(target)}")
    cells = np.array(table.column(target), object)
    known = np.flatnonzero([not is_missing(cell) for cell in cells])
    x = np.stack([_column(table, name) for name in names], 1)[known]
    y, classes = targets(cells[known], kind, path, target)
    data = Tabular(x, names, column_kinds(x), y, classes)
    refuse_unsuitable(data, path, target, least)
    return data


def _column(table: TableFile, name: str) -> NDArray[np.object_]:
    return np.array(table.column(name), object)


def targets(cells: NDArray[Any], kind: str | None, source: str, target: str) -> tuple[NDArray[Any], Any]:
    """Class numbers with the names of the classes, or numbers with None, from the cells of a target, none missing.

    Raises `UserError` where words are to be regressed.
    """
    values = numbers(cells)
    numeric = not np.isnan(values).any()
    if kind is None:
        few = len(np.unique(values)) <= _FEW_NUMBERS and (values == np.floor(values)).all()
        kind = REGRESSION if numeric and not few else CLASSIFICATION
    if kind == REGRESSION:
        if not numeric:
            word = cells[int(np.isnan(values).argmax())]
            raise UserError(f"{source}: target {quoted(target)}: {quoted(str(word))} is not a number")
        return values, None
    labels = values if numeric else words(cells)
    found, numbered = np.unique(labels, return_inverse=True)
    return numbered.astype(np.int64), tuple(f"{value:g}" if numeric else value for value in found.tolist())


def refuse_unsuitable(data: Tabular, source: str, target: str, least: int) -> None:
    """Refuse what cannot be learned from: too few rows, one class, a constant, a column that gives the target away."""
    name = quoted(target)
    if len(data.y) < least:
        raise UserError(f"{source}: {len(data.y)} rows with a target; at least {least} are needed")
    if data.classes is not None:
        if len(data.classes) < 2:
            raise UserError(f"{source}: target {name} has one class, {quoted(data.classes[0])}; two are needed")
        if len(data.classes) > MOST_CLASSES:
            raise UserError(
                f"{source}: target {name} has {len(data.classes):,} classes, at most {MOST_CLASSES} are supported; "
                "for a target of numbers, set recommend.kind=regression"
            )
    elif data.y.min() == data.y.max():
        raise UserError(f"{source}: target {name} is {data.y[0]:g} in all rows; there is nothing to learn")
    if set(data.columns) == {IGNORED}:
        raise UserError(
            f"{source}: no column to predict {name} from: all are constant, empty, or different in most rows"
        )
    if leaks := [data.names[place] for place in range(len(data.names)) if _gives_away(data, place)]:
        raise UserError(
            f"{source}: {listed(map(quoted, leaks))} determines the target {name} exactly: it leaks; leave it out: "
            f"recommend.exclude=[{','.join(leaks)}]"
        )


def _gives_away(data: Tabular, place: int) -> bool:
    """Whether a column is the target under another name: its classes renamed, or a linear function of it.

    A column of words gives classes away also if it has several words for a class, each for ten rows on average.
    """
    kind, column = data.columns[place], data.x[:, place]
    if kind not in (NUMBER, CATEGORY):
        return False
    if data.classes is None:
        if kind != NUMBER:
            return False
        values = numbers(column)
        known = ~np.isnan(values)
        if known.sum() < 3 or values[known].std() == 0 or data.y[known].std() == 0:
            return False
        return bool(abs(np.corrcoef(values[known], data.y[known])[0, 1]) > 1 - 1e-9)
    cells = numbers(column) if kind == NUMBER else words(column)
    found, numbered = np.unique(cells, return_inverse=True)
    most = len(data.classes) if kind == NUMBER else len(cells) / 10
    pairs = len(np.unique(numbered * len(data.classes) + data.y))
    return pairs == len(found) and len(found) <= most
