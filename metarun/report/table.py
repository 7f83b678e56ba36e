"""A group of configurations as a table of texts, whoever prints it."""

from collections.abc import Sequence
from dataclasses import dataclass

from metarun.report import keys
from metarun.report.grouping import Configuration, Group
from metarun.report.runs import Run
from metarun.report.text import NOTHING, duration, figure, margin, number


@dataclass(frozen=True)
class Table:
    """Cells as texts. ``best``: the row that validation chose, if any; ``names``: how many columns are keys."""

    title: str
    header: list[str]
    rows: list[list[str]]
    best: int | None
    names: int
    note: str


STAGES = (("meta_test", "meta-test"), ("meta_val", "meta-val"))


def table(group: Group) -> Table:
    """One row a configuration."""
    header = [group.names[key] for key in group.keys]
    if group.several_seeds:
        header.append("seeds")
    for metric in group.metrics:
        for _, stage in STAGES:
            header.append(f"{stage} {metric}")
            if group.several_seeds:
                header.append("over seeds")
    header += ["tasks/s", "time"]
    unfinished = any(one.unfinished for one in group.configurations)
    header += ["not done"] if unfinished else []
    rows = [_row(group, one, unfinished) for one in group.configurations]
    kept = [
        column
        for column in range(len(header))
        if column < len(group.keys) or any(row[column] != NOTHING for row in rows)
    ]
    best = None if group.best is None else group.configurations.index(group.best)
    return Table(
        group.title,
        [header[column] for column in kept],
        [[row[column] for column in kept] for row in rows],
        best,
        len(group.keys),
        _note(group),
    )


def _row(group: Group, one: Configuration, unfinished: bool) -> list[str]:
    cells = [keys.told(one.first, key) for key in group.keys]
    if group.several_seeds:
        cells.append(str(len(one.runs)))
    for metric in group.metrics:
        for stage, _ in STAGES:
            cells.append(figure(one.over_episodes(stage, metric)))
            if group.several_seeds:
                cells.append(margin(one.over_seeds(stage, metric)))
    cells += [number(one.training("tasks_per_second")), duration(one.training("seconds"))]
    if unfinished:
        cells.append(states([run.status for run in one.unfinished]))
    return cells


def states(found: Sequence[str]) -> str:
    """``1 failed, 2 running``."""
    return ", ".join(f"{found.count(state)} {state}" for state in dict.fromkeys(found)) or NOTHING


def _note(group: Group) -> str:
    runs = [run for one in group.configurations for run in one.runs]
    counts = [f"{told} {name} episodes" for stage, name in STAGES if (told := _episodes(runs, stage, group.metrics[0]))]
    seeds = "; over seeds: the same of the mean over seeds" if group.several_seeds else ""
    return f"±: half-width of the 95 % interval over {' or '.join(counts) or 'episodes'}{seeds}"


def _episodes(runs: Sequence[Run], stage: str, metric: str) -> str:
    """How many episodes a stage has in these runs."""
    found = [run.result[stage].get(metric, {}).get("episodes") for run in runs]
    counts = sorted(count for count in found if isinstance(count, int))
    return " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1]))) if counts else ""
