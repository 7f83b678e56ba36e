"""The format of metarun's own tables of scores: a folder with ``scores.csv``, ``configurations.json``, ``tasks.csv``.

``scores.csv`` (or ``.csv.gz``, ``.parquet``) has a row for each evaluation: the columns ``task``, ``configuration``,
one for each metric, and, where they are known, ``seconds`` and ``status``: ``ok`` or a word for what went wrong, such
as ``failed`` or ``timeout``. ``configurations.json`` is an object with

* ``metrics``: the metric columns, each with ``minimize`` or ``maximize``; the first is the one to optimize;
* ``space``: the space, as ConfigSpace writes it (``ConfigurationSpace.to_serialized_dict``);
* ``configurations``: for each value of the column ``configuration`` its active hyperparameters.

``tasks.csv`` may be missing. It has the column ``task``, and may have ``group``, which is the same for variants of one
data set, and further columns of numbers: meta-features.
"""

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarun.core.errors import UserError
from metarun.core.files import write_json, write_text
from metarun.core.names import listed
from metarun.datasets.score_tables import space as spaces
from metarun.datasets.score_tables.table import DIRECTIONS, ScoreTable, grouped
from metarun.datasets.table_files import TableFile, quoted
from metarun.datasets.table_files import read as read_table

CONFIGURATIONS = "configurations.json"
SCORES = ("scores.csv", "scores.csv.gz", "scores.parquet")
TASKS = "tasks.csv"
OK = "ok"
_OWN = ("task", "configuration", "seconds", "status")
"""Columns of the scores that are no metrics."""


def is_tidy(folder: Path) -> bool:
    """Whether a folder holds a table in this format."""
    return (folder / CONFIGURATIONS).is_file()


def read(path: str) -> ScoreTable:
    """The table in a folder. Raises `UserError` for files that are missing, broken or do not go together."""
    folder = Path(path).expanduser()
    content = _described(folder / CONFIGURATIONS)
    file = next((folder / name for name in SCORES if (folder / name).is_file()), None)
    if file is None:
        raise UserError(f"dataset.path={path}: has no {' or '.join(SCORES)}, which holds the scores")
    rows = read_table(str(file))
    source = str(folder / CONFIGURATIONS)
    space = spaces.from_json(content["space"], source)
    known: dict[str, spaces.Values] = content["configurations"]
    for name, values in known.items():
        spaces.check(space, name, values, source)
    metrics: dict[str, str] = content["metrics"]
    for name in ("task", "configuration", *metrics):
        if name not in rows.names:
            raise UserError(f"{file}: no column {name!r} (columns: {listed(rows.names)})")
    place_of = {name: place for place, name in enumerate(known)}
    tasks = tuple(dict.fromkeys(rows.column("task")))
    task_of = {name: place for place, name in enumerate(tasks)}
    shape = (len(tasks), len(known))
    scores = {name: np.full(shape, np.nan) for name in metrics}
    seconds = np.full(shape, np.nan) if "seconds" in rows.names else None
    failed, taken = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    status = rows.column("status") if "status" in rows.names else [OK] * len(rows.column("task"))
    metric_cells = {name: rows.column(name) for name in metrics}
    second_cells = rows.column("seconds") if seconds is not None else []
    for row, (task, configuration) in enumerate(zip(rows.column("task"), rows.column("configuration"), strict=True)):
        if configuration not in place_of:
            raise rows.error(row, "configuration", f"{quoted(configuration)} is not in {CONFIGURATIONS}")
        cell = task_of[task], place_of[configuration]
        if taken[cell]:
            raise rows.error(row, "configuration", f"a second row for task {quoted(task)} and {quoted(configuration)}")
        taken[cell] = True
        if status[row] not in ("", OK):
            failed[cell] = True
            continue
        for name, cells in metric_cells.items():
            scores[name][cell] = _number(rows, row, name, cells[row])
        if seconds is not None and second_cells[row]:
            seconds[cell] = _number(rows, row, "seconds", second_cells[row])
    groups, features, names = _tasks(folder / TASKS, tasks)
    return ScoreTable(
        str(path),
        tasks,
        tuple(known),
        space,
        list(known.values()),
        scores,
        dict(metrics),
        seconds,
        failed,
        grouped(groups, scores),
        features,
        names,
    )


def write(folder: Path, table: ScoreTable) -> None:
    """Write a table to a folder, from which `read` reads an equal one. Failures are written as ``failed``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / CONFIGURATIONS,
        {
            "metrics": dict(table.directions),
            "space": table.space.to_serialized_dict(),
            "configurations": {
                name: dict(values) for name, values in zip(table.identifiers, table.configurations, strict=True)
            },
        },
    )
    first = next(iter(table.scores.values()))
    header = ["task", "configuration", *table.scores, *([] if table.seconds is None else ["seconds"]), "status"]
    rows = []
    for task, configuration in np.argwhere(~np.isnan(first) | table.failed).tolist():
        cell = task, configuration
        values = ["" if table.failed[cell] else repr(float(each[cell])) for each in table.scores.values()]
        if table.seconds is not None:
            values.append("" if math.isnan(table.seconds[cell]) else repr(float(table.seconds[cell])))
        rows.append(
            [table.tasks[task], table.identifiers[configuration], *values, "failed" if table.failed[cell] else OK]
        )
    write_text(folder / SCORES[0], _csv(header, rows))
    about = [
        [name, str(int(group)), *map(repr, features)]
        for name, group, features in zip(table.tasks, table.groups, table.features.tolist(), strict=True)
    ]
    write_text(folder / TASKS, _csv(["task", "group", *table.feature_names], about))


def _csv(header: list[str], rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def _described(file: Path) -> dict[str, Any]:
    """The content of ``configurations.json``, of which the parts have the right types."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as JSON: {error}") from error
    for key in ("metrics", "space", "configurations"):
        if not isinstance(content, Mapping) or not isinstance(content.get(key), Mapping):
            raise UserError(f"{file}: no object {key!r}; metrics, space and configurations are expected")
    if not content["metrics"] or not content["configurations"]:
        raise UserError(f"{file}: at least one metric and one configuration are needed")
    for name, direction in content["metrics"].items():
        if direction not in DIRECTIONS:
            raise UserError(f"{file}: metric {name!r} is {direction!r}; one of {listed(DIRECTIONS)} is expected")
        if name in _OWN:
            raise UserError(f"{file}: a metric cannot be called {name!r}: scores.csv has another column of that name")
    for name, values in content["configurations"].items():
        if not isinstance(values, Mapping):
            raise UserError(f"{file}: configuration {name!r} is no object of hyperparameters")
    return dict(content)


def _tasks(file: Path, tasks: tuple[str, ...]) -> tuple[list[str], NDArray[np.float64], tuple[str, ...]]:
    """Group names and meta-features of the tasks; without the file, each is its own group."""
    if not file.is_file():
        return list(tasks), np.zeros((len(tasks), 0)), ()
    table = read_table(str(file))
    if "task" not in table.names:
        raise UserError(f"{file}: no column 'task' (columns: {listed(table.names)})")
    rows = {name: row for row, name in enumerate(table.column("task"))}
    lacking = [name for name in tasks if name not in rows]
    if lacking:
        raise UserError(f"{file}: no row for task {quoted(lacking[0])}")
    names = tuple(name for name in table.names if name not in ("task", "group"))
    columns = {name: table.column(name) for name in names}
    features = [[_number(table, rows[task], name, columns[name][rows[task]]) for name in names] for task in tasks]
    groups = [table.column("group")[rows[task]] for task in tasks] if "group" in table.names else list(tasks)
    return groups, np.array(features, np.float64).reshape(len(tasks), len(names)), names


def _number(table: TableFile, row: int, name: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise table.error(row, name, f"{quoted(cell)} is not a finite number")
    return value
