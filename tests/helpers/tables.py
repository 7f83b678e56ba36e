"""Small tables for tests."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metarun.datasets.table import TableConfig, TableDataset

DEFAULTS: dict[str, Any] = {
    **{"task": "task", "target": "target", "features": None, "kind": "regression"},
    **{"split": "rows", "fractions": [0.5, 0.2, 0.3]},
    **{"shots": None, "queries": None, "train_shots": None, "train_queries": None},
}


def write(path: Path, header: Sequence[object], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def speaking_rows(sizes: Sequence[int]) -> list[list[object]]:
    """Rows ``task, target, row, task's, noise``: ``row`` numbers the rows of the table, ``task's`` is of the task."""
    noise = np.random.default_rng(0).normal(size=sum(sizes))
    tasks = [task for task, size in enumerate(sizes) for _ in range(size)]
    return [[f"t{task:02}", 0.3 * row, row, task % 3, noise[row]] for row, task in enumerate(tasks)]


def speaking(folder: Path, sizes: Sequence[int]) -> Path:
    return write(folder / "table.csv", ["task", "target", "row", "place", "noise"], speaking_rows(sizes))


def load(path: Path, seed: int = 0, dtype: torch.dtype = torch.float64, **changes: Any) -> TableDataset:
    config = TableConfig(path=str(path), **{**DEFAULTS, **changes})
    return config.load(seed, torch.device("cpu"), dtype)


def real_rows(table: TableDataset, part: Any) -> list[list[int]]:
    """Which rows of a `speaking` table each task of a batch holds."""
    target = (part.y[..., 0] * table.target_std + table.target_mean) / 0.3
    mask = torch.ones_like(target) if part.mask is None else part.mask
    return [values[chosen > 0].round().long().tolist() for values, chosen in zip(target, mask, strict=True)]
