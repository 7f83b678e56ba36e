"""Two runs, episode by episode: a paired test where both were tested on the same tasks."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metarun.config.names import listed, nearest, shown
from metarun.errors import UserError
from metarun.report import keys
from metarun.report.runs import DONE, HUGE, Run, Unreadable, read
from metarun.report.statistics import Paired, paired
from metarun.report.text import clean, figure

EPISODES = "episodes.csv"
LEAST_P = 1e-12
"""Smaller ones are not told: differences of numbers near 1 have no more digits."""


@dataclass(frozen=True)
class Comparison:
    """What a paired test of one metric says of two runs."""

    first: str
    second: str
    metric: str
    higher_is_better: bool
    found: Paired

    @property
    def wins(self) -> tuple[int, int]:
        """In how many episodes the first is better, and the second."""
        found = self.found
        return (found.more, found.less) if self.higher_is_better else (found.less, found.more)

    def lines(self) -> list[str]:
        """For people."""
        first, second = self.wins
        p = f"p < {LEAST_P:.0e}" if self.found.p < LEAST_P else f"p = {self.found.p:.3g}"
        better = "more" if self.higher_is_better else "less"
        return [
            f"paired, {self.metric} ({better} is better) on the same {self.found.episodes:,} meta-test episodes",
            f"  A {self.first}",
            f"  B {self.second}",
            f"  A - B = {figure(self.found.difference)} (95 % interval), {p} (paired t-test)",
            f"  better in single episodes: A {first:,}, B {second:,}, equal {self.found.equal:,}",
        ]


def compare(first: str, second: str, asked: Sequence[str]) -> list[Comparison]:
    """The paired tests of two run folders: of the metrics asked for, or of the runs' own.

    Raises `UserError` where a folder has no finished run, where the runs were not tested on the same episodes, and for
    a metric that they don't share.
    """
    runs = [_run(path) for path in (first, second)]
    _refuse_other_episodes(*runs)
    columns = [_episodes(run) for run in runs]
    counts = [len(column["episode"]) for column in columns]
    if counts[0] != counts[1] or counts[0] < 2:
        raise UserError(
            f"--paired: not the same episodes: {counts[0]:,} of {clean(first)} and {counts[1]:,} of {clean(second)}; "
            "both need the same two or more (mode=test checkpoint=RUN engine.test_episodes=… tests again)"
        )
    names = [name for name in columns[0] if name in columns[1] and name in runs[0].metrics]
    found = []
    for metric in asked or [runs[0].metric]:
        if metric not in names:
            raise UserError(
                f"--metric {metric}: {EPISODES} has no such{nearest(metric, names)} (metrics: {listed(names)})"
            )
        values = [_finite(run, metric, column[metric]) for run, column in zip(runs, columns, strict=True)]
        better = runs[0].higher_is_better(metric)
        found.append(Comparison(clean(first), clean(second), metric, better, paired(*values)))
    return found


def _run(path: str) -> Run:
    try:
        run = read(Path(path)) if Path(path).is_dir() else None
    except (Unreadable, OSError) as error:
        raise UserError(f"--paired {clean(path)}: {error}") from error
    if run is None:
        raise UserError(f"--paired {clean(path)}: no run's folder")
    if run.status != DONE:
        raise UserError(f"--paired {clean(path)}: the run is {run.status}, not done")
    return run


def _refuse_other_episodes(first: Run, second: Run) -> None:
    """Task n of meta-test depends on the dataset's settings and the seed alone."""
    # Whether queries may be seen all at once changes what is done with an episode, not the episode.
    mine, other = (
        {**keys.of_the_problem(run), keys.SEED: run.seed, "engine.transductive": None} for run in (first, second)
    )
    for name in sorted(mine.keys() | other.keys()):
        if name not in mine or name not in other or keys.fingerprint(mine[name]) != keys.fingerprint(other[name]):
            told = " and ".join(clean(shown(one[name])) if name in one else "no such key" for one in (mine, other))
            raise UserError(f"--paired: not the same episodes: {name} is {told}; test both with the same")


def _episodes(run: Run) -> dict[str, list[float]]:
    """The columns of ``episodes.csv`` by name, in order of episode."""
    file = run.folder / EPISODES
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            header, *rows = csv.reader(lines)
        columns = {name: [float(row[place]) for row in rows] for place, name in enumerate(header)}
        if columns["episode"] != list(range(len(rows))):
            raise ValueError("episodes are missing or out of order")
    except (OSError, ValueError, LookupError, csv.Error) as error:
        raise UserError(f"--paired: {clean(file)} cannot be read: {clean(error)}") from error
    return columns


def _finite(run: Run, metric: str, values: list[float]) -> list[float]:
    for number, value in enumerate(values):
        if not abs(value) < HUGE:
            raise UserError(f"--paired {clean(run.folder)}: {metric} of episode {number} is {value}; there is no mean")
    return values
