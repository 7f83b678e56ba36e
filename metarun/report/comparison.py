"""Two runs, episode by episode: a paired test where both were tested on the same tasks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metarun.core.class_intervals import ClassSample
from metarun.core.errors import UserError
from metarun.core.intervals import Estimate
from metarun.core.names import listed, nearest, shown
from metarun.report import keys
from metarun.report.episodes import EPISODE_SEED, EPISODES, EpisodeTable, episodes
from metarun.report.runs import DONE, HUGE, Run, Unreadable, read
from metarun.report.statistics import Paired, paired
from metarun.report.text import clean, figure, probability


@dataclass(frozen=True)
class Comparison:
    """What a paired test of one metric says of two runs."""

    first: str
    second: str
    metric: str
    higher_is_better: bool
    found: Paired
    other_classes: Estimate | None = None
    """The mean difference with its interval for classes that might have been drawn, where episodes draw classes."""

    @property
    def wins(self) -> tuple[int, int]:
        """In how many episodes the first is better, and the second."""
        found = self.found
        return (found.more, found.less) if self.higher_is_better else (found.less, found.more)

    def lines(self) -> list[str]:
        """For people."""
        first, second = self.wins
        better = "more" if self.higher_is_better else "less"
        tasks = self.found.difference.clusters
        of = f" of {tasks:,} tasks" if tasks < self.found.episodes else ""
        how = "paired t-test, clustered by task" if of else "paired t-test"
        others = []
        if self.other_classes is not None and self.other_classes.half is not None:
            counted = f"{self.other_classes.clusters:,} classes"
            others = [f"  for other classes than these {counted}: A - B = {figure(self.other_classes)} (95 % interval)"]
        return [
            f"paired, {self.metric} ({better} is better) on the same {self.found.episodes:,} meta-test episodes{of}",
            f"  A {self.first}",
            f"  B {self.second}",
            f"  A - B = {figure(self.found.difference)} (95 % interval), {_told(self.found.p)} ({how})",
            *others,
            f"  better in single episodes: A {first:,}, B {second:,}, equal {self.found.equal:,}",
        ]


def _told(p: float | None) -> str:
    if p is None:
        return "no p: a single task"
    text = probability(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def compare(first: str, second: str, asked: Sequence[str]) -> list[Comparison]:
    """The paired tests of two run folders: of the metrics asked for, or of the runs' own.

    Raises `UserError` where a folder has no finished run, where the runs were not tested on the same episodes, and for
    a metric that they don't share.
    """
    runs = [_run(path) for path in (first, second)]
    _refuse_other_episodes(*runs)
    both = [_episodes(run) for run in runs]
    counts = [one.count for one in both]
    if counts[0] != counts[1] or counts[0] < 2:
        raise UserError(
            f"--paired: not the same episodes: {counts[0]:,} of {clean(first)} and {counts[1]:,} of {clean(second)}; "
            "both need the same two or more (mode=test checkpoint=RUN engine.test_episodes=… tests again)"
        )
    names = [name for name in both[0].values if name in both[1].values and name in runs[0].metrics]
    classes = both[0].drawn_classes
    sample = ClassSample(classes) if classes else None
    found = []
    for metric in asked or [runs[0].metric]:
        if metric not in names:
            raise UserError(
                f"--metric {metric}: {EPISODES} has no such{nearest(metric, names)} (metrics: {listed(names)})"
            )
        a, b = (_finite(run, metric, one.values[metric]) for run, one in zip(runs, both, strict=True))
        better = runs[0].higher_is_better(metric)
        others = sample.mean([one - other for one, other in zip(a, b, strict=True)]) if sample else None
        test = paired(a, b, both[0].tasks)
        found.append(Comparison(clean(first), clean(second), metric, better, test, others))
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
    """Task n of meta-test depends on the dataset's settings, ``engine.episode_seed`` and, if random, the split."""
    # Whether queries may be seen all at once changes what is done with an episode, not the episode.
    mine, other = (
        {
            **keys.of_the_problem(run),
            EPISODE_SEED: run.settings.get(EPISODE_SEED, run.seed),
            "seed of the split": run.split_seed,
            "engine.transductive": None,
        }
        for run in (first, second)
    )
    for name in sorted(mine.keys() | other.keys()):
        if name not in mine or name not in other or keys.fingerprint(mine[name]) != keys.fingerprint(other[name]):
            told = " and ".join(clean(shown(one[name])) if name in one else "no such key" for one in (mine, other))
            raise UserError(f"--paired: not the same episodes: {name} is {told}; test both with the same")


def _episodes(run: Run) -> EpisodeTable:
    try:
        return episodes(run)
    except Unreadable as error:
        raise UserError(f"--paired: {error}") from error


def _finite(run: Run, metric: str, values: Sequence[float]) -> Sequence[float]:
    for number, value in enumerate(values):
        if not abs(value) < HUGE:
            raise UserError(f"--paired {clean(run.folder)}: {metric} of episode {number} is {value}; there is no mean")
    return values
