"""A group of configurations as a table of strings, for all output formats."""

from collections.abc import Sequence
from dataclasses import dataclass

from metarun.report import baseline_columns, keys
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
    header += [*baseline_columns.header(group), "θ", "φ", "tasks/s", "time", "no figure"]
    rows = [_row(group, one) for one in group.configurations]
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


def _row(group: Group, one: Configuration) -> list[str]:
    cells = [keys.told(one.first, key) for key in group.keys]
    lacking = one.lacking("meta_test", group.metrics[0])
    if group.several_seeds:
        seeds = one.seeds + one.missing
        cells.append(f"{seeds - len(lacking)} of {seeds}" if lacking else str(seeds))
    for metric in group.metrics:
        for stage, _ in STAGES:
            cells.append(figure(one.over_episodes(stage, metric)))
            if group.several_seeds:
                cells.append(margin(one.over_seeds(stage, metric)))
    sizes = map(one.first.parameters, ("theta", "phi"))
    return [
        *cells,
        *baseline_columns.cells(group, one),
        *(NOTHING if size is None else f"{size:,}" for size in sizes),
        number(one.training("tasks_per_second")),
        duration(one.training("seconds")),
        counted(lacking) or NOTHING,
    ]


def counted(found: Sequence[str]) -> str:
    """``1 failed, 2 running``; empty where there are none."""
    return ", ".join(f"{found.count(state)} {state}" for state in dict.fromkeys(found))


def _note(group: Group) -> str:
    runs = [run for one in group.configurations for run in one.runs]
    counts = [told for stage, name in STAGES if (told := _episodes(runs, stage, name, group.metrics[0]))]
    if not group.several_seeds:
        return (
            f"±: half-width of the 95 % interval over {' or '.join(counts) or 'episodes'}{baseline_columns.note(group)}"
        )
    return (
        f"±: half-width of the 95 % interval for these models on other episodes ({' and '.join(counts) or 'of each'}); "
        f"over seeds: for models of other seeds{baseline_columns.note(group)}"
    )


def _episodes(runs: Sequence[Run], stage: str, name: str, metric: str) -> str:
    """``1,000 meta-test episodes of 11 tasks``: how many a stage has in these runs; empty where none says so."""
    counts = {what: _between(runs, stage, metric, what) for what in ("episodes", "tasks", "classes")}
    if not counts["episodes"]:
        return ""
    told = f"{counts['episodes']} {name} episodes"
    if counts["classes"]:
        return f"{told} of {counts['classes']} classes"
    return told if counts["tasks"] in ("", counts["episodes"]) else f"{told} of {counts['tasks']} tasks"


def _between(runs: Sequence[Run], stage: str, metric: str, what: str) -> str:
    """``50 to 100``: the least and the most of a count of a stage's figures."""
    counts = sorted(count for run in runs if (count := run.count(stage, metric, what)) is not None)
    return " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1]))) if counts else ""
