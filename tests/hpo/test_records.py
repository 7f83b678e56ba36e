"""Trials as rows of a file."""

from pathlib import Path

import pytest

from metarun.core.errors import UserError
from metarun.hpo import records
from metarun.hpo.records import Record


def rows() -> list[Record]:
    """Two methods, two tasks, two seeds; task u has one trial only."""
    return [
        Record(method, task, "g", seed, trial, f"c{trial}", 0.5, 0.1 * seed + (0.5 if method == "a" else 0.2) / trial)
        for method in "ab"
        for task in "tu"
        for seed in range(2)
        for trial in range(1, 3 if task == "t" else 2)
    ]


def test_rows_come_back(tmp_path: Path) -> None:
    records.write(tmp_path / "x.csv", rows())
    assert records.read(tmp_path / "x.csv") == rows()


def test_regrets_are_means_over_seeds() -> None:
    found = records.regrets(rows(), 3)
    assert found.methods == ("a", "b")
    assert found.groups == (0, 0)
    assert found.values[0, 0].tolist() == pytest.approx([0.55, 0.3, 0.3])
    assert found.values[1, 1].tolist() == pytest.approx([0.25, 0.25, 0.25])


def test_missing_trials_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no trials of method a on task u with seed 1"):
        records.regrets([row for row in rows() if row[:2] != ("a", "u") or row.seed == 0], 2)
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"x\.csv cannot be read as trials of an optimization: the columns"):
        records.read(tmp_path / "x.csv")
