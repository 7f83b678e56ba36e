"""From columns to numbers."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from tables import write

from metarun.core.errors import UserError
from metarun.datasets.table_columns import TaskRows, constant_within_tasks, numbered
from metarun.datasets.table_files import read


def rows_of(folder: Path, header: str, *lines: str, **changes: Any) -> TaskRows:
    table = read(str(write(folder / "table.csv", header.split(","), [line.split(",") for line in lines])))
    return numbered(table, **{"task": "task", "target": "y", "features": None, "kind": "regression", **changes})


def test_numbers_and_words(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "x,task,city,y", "1,b,Rome,3", "2.5,a,Bern,4", "-1e3,b,Rome,5")
    assert rows.tasks == ("a", "b")
    assert rows.task.tolist() == [1, 0, 1]
    assert rows.names == ("x", "city=Bern", "city=Rome")
    assert rows.features.tolist() == [[1, 0, 1], [2.5, 1, 0], [-1000, 0, 1]]
    assert rows.target.tolist() == [3, 4, 5]
    assert rows.ways is None


def test_tasks_and_classes_are_in_order_of_value_or_else_of_name(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "task,x,y", "10,1,b", "9,1,a", "10,1,c", kind="classification")
    assert rows.tasks == ("9", "10")
    assert rows.target.tolist() == [1, 0, 2]
    assert rows.target.dtype == np.int64
    assert rows.ways == 3
    assert rows_of(tmp_path, "task,x,y", "a,1,10", "b,1,9", kind="classification").target.tolist() == [1, 0]


AWKWARD = ["1e5", "100000", "007", "7", "1_0", "10", "1_12", "11_2", "NaN", "NA", "inf", " x ", "1.0", "1", "١"]
"""Names of tasks that other readers take for numbers, for others of these, or for nothing."""


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_what_names_a_task_is_text(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"table.{kind}"
    column = [name for name in AWKWARD for _ in range(2)]
    if kind == "parquet":
        content = {"task": column, "x": [1.0] * len(column), "y": [*map(float, range(len(column)))]}
        parquet.write_table(pyarrow.table(content), file)
    else:
        write(tmp_path / "table.csv", ["task", "x", "y"], [[name, 1, row] for row, name in enumerate(column)])
        if kind == "csv.gz":
            file.write_bytes(gzip.compress((tmp_path / "table.csv").read_bytes()))
    rows = numbered(read(str(file)), "task", "y", ["x"], "regression")
    assert [rows.tasks[task] for task in rows.task] == [name.strip() for name in column]
    assert len(rows.tasks) == len(AWKWARD)


def test_numeric_tasks_are_sorted_by_value(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "task,x,y", "1e1,1,2", "9,1,2", "10,1,2", "1.0,1,2", "01,1,2", "1,1,2", "-3,1,2")
    assert rows.tasks == ("-3", "01", "1", "1.0", "9", "10", "1e1")


def test_nan_task_in_parquet_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    parquet.write_table(pyarrow.table({"task": [1.0, float("nan")], "x": [1, 2], "y": [1, 2]}), file)
    with pytest.raises(UserError, match=r"row 2, column 'task': missing value"):
        numbered(read(str(file)), "task", "y", None, "regression")


@pytest.mark.parametrize("cell", ["1_0", "1;0", "0x10", "1e", ".", "+-1", "1 0", "١٢"])
def test_what_python_alone_takes_for_a_number_is_a_word(tmp_path: Path, cell: str) -> None:
    with pytest.raises(UserError, match=r"line 3, column 'y': .* is not a number"):
        rows_of(tmp_path, "task,x,y", "a,1,2", f"b,2,{cell}")


@pytest.mark.parametrize(("cell", "value"), [("1.", 1), (".5", 0.5), ("+2E-1", 0.2), (" 3 ", 3), ("-0", 0), ("007", 7)])
def test_numbers(tmp_path: Path, cell: str, value: float) -> None:
    assert rows_of(tmp_path, "task,x,y", f"a,1,{cell}").target.tolist() == [value]


def test_numeric_classes_are_compared_by_value(tmp_path: Path) -> None:
    lines = ("a,1,2.50", "a,1,2.5", "a,1,-0", "a,1,0", "a,1,2.5")
    rows = rows_of(tmp_path, "task,x,y", *lines, kind="classification")
    assert rows.target.tolist() == [1, 1, 0, 0, 1]
    assert rows.ways == 2
    rows = rows_of(tmp_path, "task,x,y", "a,1,1_0", "a,1,10", kind="classification")
    assert rows.classes == ("10", "1_0")


def test_task_numbers_beyond_float_precision_are_distinct(tmp_path: Path) -> None:
    long = [str(2**53 + 1), str(2**53), "1e400", "1e500"]
    rows = rows_of(tmp_path, "task,x,y", *(f"{name},1,2" for name in long))
    assert rows.tasks == (long[1], long[0], *long[2:])


@pytest.mark.parametrize("word", ["a", "nan7", "1e99999999999999999999"])
def test_numbers_among_words_are_words(tmp_path: Path, word: str) -> None:
    rows = rows_of(tmp_path, "task,x,y", "1.0,1,2", "1,1,2", "10,1,2", "9,1,2", f"{word},1,2")
    assert rows.tasks == tuple(sorted(["1", "1.0", "10", "9", word]))


def test_features_are_in_the_given_order(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "task,x,y,z,words", "a,1,2,3,", "b,4,5,6,nan", features=["z", "x"])
    assert rows.names == ("z", "x")
    assert rows.features.tolist() == [[3, 1], [6, 4]]


def test_columns_that_describe_a_task(tmp_path: Path) -> None:
    lines = ["b,1,7,2,0", "a,3,7,2,1", "b,1,7,3,0", "a,3,7,4,1"]
    rows = rows_of(tmp_path, "task,mine,same,mixed,y", *lines)
    assert constant_within_tasks(rows).tolist() == [[3], [1]]  # in the tasks' order


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "tsak"}, r"^dataset\.task=tsak: .*table\.csv has no such column; did you mean dataset\.task=task\?"),
        ({"target": "z"}, r"^dataset\.target=z: .*table\.csv has no such column \(columns: 'task', 'x', 'y'\)$"),
        ({"features": ["x", "w"]}, r"^dataset\.features=w: .* has no such column"),
        ({"features": ["x", "x"]}, r"^dataset\.features: 'x' is given twice"),
        ({"features": ["y"]}, r"^dataset\.features: 'y' is the target column"),
        ({"features": ["task"]}, r"^dataset\.features: 'task' is the task column"),
        ({"features": []}, r"^dataset\.features=\[\]: name at least one column"),
        ({"target": "task"}, r"^dataset\.target=task: is the task column"),
    ],
)
def test_missing_columns_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        rows_of(tmp_path, "task,x,y", "a,1,2", "b,1,2", **changes)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("", r"table\.csv: line 3, column '{}': missing value; fill it in"),
        ("nan", r"line 3, column '{}': missing value \('nan'\)"),
        ("NA", r"line 3, column '{}': missing value \('NA'\)"),
        ("-Inf", r"line 3, column '{}': '-Inf' is not finite"),
        ("1e999", r"line 3, column '{}': '1e999' is too large a number"),
        ("1e120", r"line 3, column '{}': '1e120' is too large a number"),
    ],
)
@pytest.mark.parametrize("column", ["x", "y"])
def test_cells_without_a_number_are_refused(tmp_path: Path, column: str, cell: str, message: str) -> None:
    broken = f"b,{cell},2" if column == "x" else f"b,2,{cell}"
    with pytest.raises(UserError, match=message.format(column)) as caught:
        rows_of(tmp_path, "task,x,y", "a,1,2", broken, "b,3,4")
    assert "\n" not in str(caught.value)


def test_a_task_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 2, column 'task': missing value"):
        rows_of(tmp_path, "task,x,y", ",1,2", "b,1,2")


def test_a_missing_word_among_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 3, column 'x': missing value"):
        rows_of(tmp_path, "task,x,y", "a,red,2", "b,,2")


def test_many_different_words_are_refused(tmp_path: Path) -> None:
    lines = [f"a,{'1' if row == 0 else f'word{row}'},{row}" for row in range(21)]
    assert len(rows_of(tmp_path, "task,x,y", *lines[:20]).names) == 20
    with pytest.raises(UserError, match=r"line 3, column 'x': 'word1' is not a number, .* 20 distinct values, not 21"):
        rows_of(tmp_path, "task,x,y", *lines)


def test_words_and_one_class_are_no_targets(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"line 3, column 'y': 'low' is not a number; for class labels, set dataset\.kind=class"
    ):
        rows_of(tmp_path, "task,x,y", "a,1,2", "b,1,low")
    with pytest.raises(UserError, match=r"column 'y' has one class, 'low'; two are needed"):
        rows_of(tmp_path, "task,x,y", "a,1,low", "b,1,low", kind="classification")


def test_a_table_with_nothing_to_predict_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no feature columns besides the task and the target"):
        rows_of(tmp_path, "task,y", "a,1")


def test_a_message_about_a_strange_cell_stays_on_one_short_line(tmp_path: Path) -> None:
    path = write(tmp_path / "table.csv", ["task", "x\ny", "y"], [["a", "1", "new\nline" + "!" * 500], ["b", "2", "3"]])
    with pytest.raises(UserError) as caught:
        numbered(read(str(path)), "task", "y", None, "regression")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250
