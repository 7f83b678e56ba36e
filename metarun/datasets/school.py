"""School: exam scores of 15,362 pupils in 139 London schools (Inner London Education Authority; Mortimore et al. 1988).

Every school is a task. The usual file is ``school.mat`` of the MALSAR package (Zhou, Chen & Ye 2012): cell arrays X,
28 features of each pupil, the last of them always 1, and Y, the scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from metarun.core.errors import UserError
from metarun.datasets.base import Seeds
from metarun.datasets.table import TableDataset
from metarun.datasets.table_columns import TaskRows, numbered
from metarun.datasets.table_files import missing_package, read
from metarun.datasets.table_streams import TableShape

_COLUMNS = 28
_NUMERIC = "buif"


@dataclass(kw_only=True)
class SchoolConfig(TableShape):
    """Keys of ``conf/dataset/school.yaml``."""

    def load(self, seed: int, device: torch.device, dtype: torch.dtype, episode_seed: int = 0) -> TableDataset:
        rows = _from_matlab(self.path) if self.path.lower().endswith(".mat") else _from_table(self.path)
        return TableDataset("school", _without_constants(rows), self, Seeds(seed, episode_seed), device, dtype)


def _from_table(path: str) -> TaskRows:
    table = read(path)
    for name in ("school", "score"):
        if name not in table.names:
            raise UserError(
                f"{path} is not the School data: no column {name!r}; the columns school and score are needed"
            )
    return numbered(table, "school", "score", None, "regression")


def _from_matlab(path: str) -> TaskRows:
    """The schools in a MATLAB file, named 1, 2, … in its order."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"dataset.path={path}: no such file; give school.mat, or a table with columns school and score")
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise missing_package("scipy", f"{path}: a MATLAB file") from error
    try:
        content = loadmat(file, appendmat=False, variable_names=("X", "Y"))
    except Exception as error:  # what scipy raises for a broken file depends on where it is broken
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{path} cannot be read as a MATLAB file up to version 7.2: {reason}") from error
    x, y = (_cells(path, name, content.get(name)) for name in ("X", "Y"))
    if len(x) != len(y):
        raise UserError(f"{path} is not the School data: X has {len(x)} schools, Y {len(y)}")
    for school, (features, scores) in enumerate(zip(x, y, strict=True), 1):
        rows = len(features)
        if features.shape != (rows, _COLUMNS) or scores.shape != (rows, 1) or not rows:
            raise UserError(
                f"{path} is not the School data: school {school} has features {_size(features)} and scores "
                f"{_size(scores)}; pupils x {_COLUMNS} and pupils x 1 are expected"
            )
        for name, values in (("X", features), ("Y", scores)):
            if not np.isfinite(values).all():
                row = int(np.argmin(np.isfinite(values).all(1))) + 1
                raise UserError(f"{path}: {name} of school {school} has a value in row {row} that is not finite")
    return TaskRows(
        path,
        np.arange(len(x)).repeat([len(features) for features in x]),
        tuple(str(school) for school in range(1, len(x) + 1)),
        np.concatenate(x),
        tuple(f"x{column}" for column in range(_COLUMNS)),
        np.concatenate(y)[:, 0],
        None,
    )


def _cells(path: str, name: str, content: Any) -> list[NDArray[np.float64]]:
    """The numeric matrices of a cell array. They are bytes in the file, whose arithmetic would wrap around."""
    if not isinstance(content, np.ndarray) or content.dtype != object or not content.size:
        raise UserError(f"{path} is not the School data: no cell array {name}, with a matrix for every school")
    cells: Sequence[Any] = content.ravel().tolist()
    for school, cell in enumerate(cells, 1):
        if not isinstance(cell, np.ndarray) or cell.ndim != 2 or cell.dtype.kind not in _NUMERIC:
            raise UserError(f"{path} is not the School data: {name} of school {school} is not a matrix of numbers")
    return [cell.astype(np.float64) for cell in cells]


def _size(matrix: NDArray[np.float64]) -> str:
    return " x ".join(map(str, matrix.shape))


def _without_constants(rows: TaskRows) -> TaskRows:
    """Without the columns that are the same in every row, as the bias column of the usual file is."""
    varies = rows.features.min(0) != rows.features.max(0)
    if not varies.any():
        raise UserError(f"{rows.source}: all features are constant")
    names = tuple(name for name, kept in zip(rows.names, varies, strict=True) if kept)
    return rows._replace(features=rows.features[:, varies], names=names)
