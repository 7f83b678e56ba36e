"""Trials of simulated optimizations as rows of a CSV file."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metarun.core.errors import UserError
from metarun.core.files import write_text
from metarun.core.names import listed
from metarun.hpo.scoring import Regrets


class Record(NamedTuple):
    """One trial: ``regret`` is the normalized regret after it."""

    method: str
    task: str
    group: str
    seed: int
    trial: int
    configuration: str
    loss: float
    regret: float


def write(file: Path, records: Iterable[Record]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([Record._fields, *records])
    write_text(file, text.getvalue())


def read(file: Path) -> list[Record]:
    """The rows of a file that `write` wrote. Raises `UserError` for any other."""
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))
        if not rows or tuple(rows[0]) != Record._fields:
            raise ValueError(f"the columns {listed(Record._fields)} are expected")
        return [
            Record(method, task, group, int(seed), int(trial), configuration, float(loss), float(regret))
            for method, task, group, seed, trial, configuration, loss, regret in rows[1:]
        ]
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as trials of an optimization: {error}") from error


def regrets(records: Sequence[Record], trials: int) -> Regrets:
    """Regrets after 1 to ``trials`` trials, averaged over seeds.

    Where a task had fewer trials, the last regret stays. Raises `UserError` unless every method was run on every task
    with the same seeds.
    """
    methods = tuple(dict.fromkeys(each.method for each in records))
    tasks = {each.task: each.group for each in records}
    curves: dict[tuple[str, str, int], dict[int, float]] = {}
    for each in records:
        curves.setdefault((each.method, each.task, each.seed), {})[each.trial] = each.regret
    seeds = sorted({seed for _, _, seed in curves})
    values = np.empty((len(methods), len(tasks), len(seeds), trials))
    for place, method in enumerate(methods):
        for row, task in enumerate(tasks):
            for column, seed in enumerate(seeds):
                curve = curves.get((method, task, seed))
                if curve is None:
                    raise UserError(f"no trials of method {method} on task {task} with seed {seed}")
                known = [curve[trial] for trial in sorted(curve)][:trials]
                values[place, row, column] = known + known[-1:] * (trials - len(known))
    numbers = {group: number for number, group in enumerate(dict.fromkeys(tasks.values()))}
    return Regrets(methods, values.mean(2), tuple(numbers[group] for group in tasks.values()))
