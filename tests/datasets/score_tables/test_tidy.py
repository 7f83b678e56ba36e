"""metarun's own format of tables of scores."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tuning

from metarun.core.errors import UserError
from metarun.datasets.score_tables import tidy


def test_a_written_table_comes_back(tmp_path: Path) -> None:
    table = tuning.table()
    errors = table.scores["error"].copy()
    errors[1, 2] = errors[3, 4] = np.nan
    table = replace(table, scores={"error": errors, "accuracy": 1 - errors})
    failed = np.zeros(errors.shape, np.bool_)
    failed[1, 2] = True  # the other one was never tried
    table = replace(table, failed=failed)
    tidy.write(tmp_path / "new" / "folder", table)
    found = tidy.read(str(tmp_path / "new" / "folder"))
    assert found.fingerprint == table.fingerprint
    assert found.space == table.space
    assert np.array_equal(found.failed, failed)
    assert found.seconds is not None
    assert np.isnan(found.seconds[1, 2])
    assert np.isnan(found.seconds[3, 4])
    assert found.seconds[0, 0] == 0.5
    assert found.feature_names == ("best", "offset")


def rows_of(file: Path) -> list[list[str]]:
    with file.open(newline="") as stream:
        return list(csv.reader(stream))


def test_the_files_are_as_documented(tmp_path: Path) -> None:
    tuning.written(tmp_path)
    header, first, *_ = rows_of(tmp_path / "scores.csv")
    assert header == ["task", "configuration", "error", "accuracy", "seconds", "status"]
    assert (first[0], first[1], first[5]) == ("data0", "c0", "ok")
    content = json.loads((tmp_path / "configurations.json").read_text())
    assert content["metrics"] == {"error": "minimize", "accuracy": "maximize"}
    assert content["configurations"]["c9"] == {"algorithm": "knn", "knn:k": 1}
    assert rows_of(tmp_path / "tasks.csv")[0] == ["task", "group", "best", "offset"]


def test_optional_parts_may_be_missing(tmp_path: Path) -> None:
    tuning.written(tmp_path)
    (tmp_path / "tasks.csv").unlink()
    rows = [row[:4] for row in rows_of(tmp_path / "scores.csv")]
    with (tmp_path / "scores.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    found = tidy.read(str(tmp_path))
    assert found.seconds is None
    assert not found.failed.any()
    assert found.groups.tolist() == list(range(12))
    assert found.features.shape == (12, 0)


def broken(folder: Path, what: str) -> None:
    """Spoil one thing of a good table."""
    rows = rows_of(folder / "scores.csv")
    content: dict[str, Any] = json.loads((folder / "configurations.json").read_text())
    if what == "unknown configuration":
        rows[1][1] = "c99"
    if what == "twice":
        rows[2] = rows[1]
    if what == "word":
        rows[1][2] = "good"
    if what == "column":
        rows = [[*row[:3], *row[4:]] for row in rows]
    if what == "illegal":
        content["configurations"]["c0"]["svm:C"] = 1e6
    if what == "direction":
        content["metrics"]["error"] = "down"
    if what == "no space":
        del content["space"]
    if what == "taken name":
        content["metrics"]["status"] = "minimize"
    if what == "no task":
        (folder / "tasks.csv").write_text("task,size\ndata0,3\n")
    with (folder / "scores.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    (folder / "configurations.json").write_text(json.dumps(content))
    if what == "not json":
        (folder / "configurations.json").write_text("{")
    if what == "no scores":
        (folder / "scores.csv").unlink()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("unknown configuration", r"scores\.csv: line 2, column 'configuration': 'c99' is not in configurations\.json"),
        ("twice", r"line 3, .*: a second row for task 'data0' and 'c0'"),
        ("word", r"line 2, column 'error': 'good' is not a finite number"),
        ("column", r"scores\.csv: no column 'accuracy'"),
        ("illegal", r"configurations\.json: configuration 'c0': Value 1000000\.0"),
        ("direction", r"metric 'error' is 'down'; one of minimize, maximize is expected"),
        ("no space", r"no object 'space'; metrics, space and configurations are expected"),
        ("taken name", r"a metric cannot be called 'status'"),
        ("no task", r"tasks\.csv: no row for task 'data1'"),
        ("not json", r"configurations\.json cannot be read as JSON"),
        ("no scores", r"has no scores\.csv or"),
    ],
)
def test_a_broken_table_is_one_line(tmp_path: Path, what: str, message: str) -> None:
    broken(tuning.written(tmp_path), what)
    with pytest.raises(UserError, match=message) as caught:
        tidy.read(str(tmp_path))
    assert "\n" not in str(caught.value)
