"""OBOE's matrix form (Yang, Akimoto, Kim & Udell 2019): cross-validated errors of scikit-learn models on data sets.

A folder with ``error_matrix.csv`` (or ``.csv.gz``): the first column names the data set, the others are headed by a
Python literal ``{'algorithm': NAME, 'hyperparameters': {...}}`` and hold balanced error rates. ``runtime_matrix.csv``,
of the same shape, holds seconds; ``dataset_sizes.csv`` a row ``id, instances, features`` for each data set.
"""

import ast
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarun.core.errors import UserError
from metarun.datasets.score_tables.space import SEPARATOR, Values, inferred
from metarun.datasets.score_tables.table import ScoreTable, grouped
from metarun.datasets.table_files import TableFile, quoted
from metarun.datasets.table_files import read as read_table

_ERRORS, _SECONDS, _SIZES = "error_matrix", "runtime_matrix", "dataset_sizes"
ALGORITHM = "algorithm"


def is_oboe(folder: Path) -> bool:
    """Whether a folder holds a table in this format."""
    return _file(folder, _ERRORS) is not None


def read(path: str) -> ScoreTable:
    """The table in a folder. Raises `UserError` where its files are broken or do not go together."""
    folder = Path(path).expanduser()
    errors, tasks, headers = _matrix(folder, _ERRORS)
    seconds = None
    if _file(folder, _SECONDS) is not None:
        seconds, other_tasks, other_headers = _matrix(folder, _SECONDS)
        if (other_tasks, other_headers) != (tasks, headers):
            raise UserError(f"{_file(folder, _SECONDS)}: its rows and columns are not those of the error matrix")
    configurations = [_configuration(folder, header) for header in headers]
    features = _sizes(folder, tasks)
    scores = {"error": errors}
    return ScoreTable(
        str(path),
        tasks,
        tuple(map(_identifier, configurations)),
        inferred(configurations, ALGORITHM),
        configurations,
        scores,
        {"error": "minimize"},
        seconds,
        np.isnan(errors),
        grouped(tasks, scores),
        features,
        ("log10 instances", "log10 features") if features.shape[1] else (),
    )


def _file(folder: Path, name: str) -> Path | None:
    found = (folder / f"{name}{ending}" for ending in (".csv", ".csv.gz"))
    return next((file for file in found if file.is_file()), None)


def _matrix(folder: Path, name: str) -> tuple[NDArray[np.float64], tuple[str, ...], tuple[str, ...]]:
    """A matrix with the names of its rows and columns; an empty cell is NaN."""
    table = read_table(str(_file(folder, name)), row_names=True)
    first, *headers = table.names
    columns = [
        [_number(table, row, header, cell) for row, cell in enumerate(table.column(header))] for header in headers
    ]
    tasks = tuple(table.column(first))
    if len(set(tasks)) < len(tasks):
        raise UserError(f"{table.path}: two rows have the same data set in the first column")
    return np.array(columns).T, tasks, tuple(headers)


def _number(table: TableFile, row: int, name: str, cell: str) -> float:
    try:
        value = float(cell or "nan")
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise table.error(row, name, f"{quoted(cell)} is not a finite number")
    return value


def _configuration(folder: Path, header: str) -> Values:
    """``{'algorithm': 'KNN', 'hyperparameters': {'p': 1}}`` as ``{'algorithm': 'KNN', 'KNN:p': 1}``."""
    try:
        content = ast.literal_eval(header)
        algorithm, own = content["algorithm"], content["hyperparameters"]
        items = [(str(name), value) for name, value in own.items()]
    except (ValueError, SyntaxError, TypeError, KeyError, AttributeError, MemoryError, RecursionError) as error:
        raise UserError(
            f"{_file(folder, _ERRORS)}: the column header {quoted(header)} is not of the form "
            "{'algorithm': NAME, 'hyperparameters': {...}}"
        ) from error
    return {ALGORITHM: str(algorithm), **{f"{algorithm}{SEPARATOR}{name}": _plain(value) for name, value in items}}


def _plain(value: Any) -> Any:
    """A hyperparameter's value; ``None``, which ConfigSpace has no value for, as a string."""
    return value if isinstance(value, int | float | str) and not isinstance(value, bool) else str(value)


def _identifier(values: Values) -> str:
    """As in ``KNN(n_neighbors=1, p=1)``."""
    skip = len(values[ALGORITHM]) + len(SEPARATOR)
    return f"{values[ALGORITHM]}({', '.join(f'{k[skip:]}={v}' for k, v in values.items() if k != ALGORITHM)})"


def _sizes(folder: Path, tasks: tuple[str, ...]) -> NDArray[np.float64]:
    """Logarithms of the numbers of instances and features, ``[tasks, 2]``; no columns where the file is missing."""
    file = _file(folder, _SIZES)
    if file is None:
        return np.zeros((len(tasks), 0))
    table = read_table(str(file), row_names=True)
    if len(table.names) != 3:
        raise UserError(f"{file}: three columns are expected: id, instances and features")
    first, *others = table.names
    # The matrix pads its ids with zeros.
    place = {name.lstrip("0"): row for row, name in enumerate(table.column(first))}
    columns = [[_number(table, row, name, cell) for row, cell in enumerate(table.column(name))] for name in others]
    lacking = [name for name in tasks if name.lstrip("0") not in place]
    if lacking:
        raise UserError(f"{file}: no row for data set {quoted(lacking[0])}")
    found = np.array([[column[place[name.lstrip("0")]] for column in columns] for name in tasks])
    if not (found > 0).all():
        raise UserError(f"{file}: numbers of instances and features above 0 are expected")
    return np.log10(found)
