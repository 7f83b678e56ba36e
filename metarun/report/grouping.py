"""Grouping of comparable runs: by problem, and seeds of one configuration together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from metarun.config.groups import PARTS
from metarun.core.best_configuration import Seeds, best
from metarun.core.errors import UserError
from metarun.core.intervals import Estimate
from metarun.core.names import listed, nearest, short_keys
from metarun.report import keys
from metarun.report.episodes import episodes, shared
from metarun.report.runs import DONE, HUGE, Run, Unreadable
from metarun.report.statistics import Measured, over_episodes, over_seeds, without_episodes

SORTS = ("val", "test", "seeds", "time", "speed")
"""What a table can be sorted by, besides its keys."""
NOT_FINITE = "not finite"
"""Why a run that is done has no figure."""


@dataclass(frozen=True)
class Configuration:
    """Finished runs that differ in nothing but their seeds, in order of seed; and such that are not finished.

    missing: how many seeds fewer it was run with than another configuration of its group.
    """

    runs: list[Run]
    unfinished: list[Run]
    missing: int = 0

    @property
    def first(self) -> Run:
        return self.runs[0]

    @property
    def seeds(self) -> int:
        """How many seeds it was run with, finished or not."""
        return len({keys.fingerprint(run.seed) for run in (*self.runs, *self.unfinished)})

    def by_seed(self, stage: str, metric: str) -> Seeds:
        """The figures of its seeds, and how many have none."""
        found = tuple(figure.mean for run in self.runs if (figure := run.figure(stage, metric)) is not None)
        lacking = self.lacking(stage, metric)
        failed = sum(why in ("failed", NOT_FINITE) for why in lacking)
        return Seeds(found, failed, len(lacking) - failed)

    def over_episodes(self, stage: str, metric: str) -> Estimate | None:
        """The mean over the seeds that have a figure, with its interval over episodes; None where none has."""
        runs = self._with_figure(stage, metric)
        return _over_episodes(runs, stage, metric) if runs else None

    def over_seeds(self, stage: str, metric: str) -> Estimate | None:
        """The mean over the seeds that have a figure, with its interval over seeds."""
        found = self.by_seed(stage, metric).found
        return over_seeds(found) if found else None

    def lacking(self, stage: str, metric: str) -> list[str]:
        """Of each seed without a figure, why: its state, ``not finite`` or ``missing``."""
        states = {keys.fingerprint(run.seed): run.status for run in self.unfinished}
        infinite = len(self.runs) - len(self._with_figure(stage, metric))
        return [*states.values(), *[NOT_FINITE] * infinite, *["missing"] * self.missing]

    def adaptation(self, metric: str) -> list[Estimate]:
        """The adaptation curve: a point before the first inner step and after each, up to the first not finite."""
        points: list[Estimate] = []
        for seeds in zip(*(run.adaptation(metric) for run in self.runs), strict=False):
            finite = [point for point in seeds if point is not None]
            if len(finite) < len(seeds):
                break
            points.append(without_episodes(finite, shared(self.runs)))
        return points

    def training(self, name: str) -> float | None:
        """The mean over seeds of a number of the meta-training."""
        found = [value for run in self.runs if (value := run.training(name)) is not None]
        return sum(found) / len(found) if found else None

    def _with_figure(self, stage: str, metric: str) -> list[Run]:
        return [run for run in self.runs if run.figure(stage, metric) is not None]


def _over_episodes(runs: Sequence[Run], stage: str, metric: str) -> Estimate:
    """The mean over runs that have a figure, by their single episodes where these are known."""
    figures = [figure for run in runs if (figure := run.figure(stage, metric)) is not None]
    if len(runs) == 1:
        return figures[0]
    if stage == "meta_test":
        measured = measurements(runs, metric)
        if measured is not None:
            return over_episodes(measured)
    return without_episodes(figures, shared(runs))


def measurements(runs: Sequence[Run], metric: str) -> list[Measured] | None:
    """The single meta-test episodes of runs of one problem; None where those of a run are unknown or not finite.

    Episodes of two runs have the same task where they are the same episode, or visits to the same task of the dataset.
    """
    same = shared(runs)
    found = []
    for number, run in enumerate(runs):
        try:
            mine = episodes(run)
        except Unreadable:
            return None
        values = mine.values.get(metric, ())
        if not values or not all(abs(value) < HUGE for value in values):
            return None
        found.append(Measured(values, mine.tasks if same or mine.named_tasks else [(number, n) for n in mine.tasks]))
    return found


@dataclass(frozen=True)
class Group:
    """Configurations that may be compared: tested on the same problem, by the same metrics."""

    title: str
    metrics: list[str]
    """Those shown. The first that has validation figures selects the best."""
    keys: list[str]
    """Those that vary, by their full names."""
    configurations: list[Configuration]
    """In the order in which they are shown."""

    @cached_property
    def names(self) -> dict[str, str]:
        """The short name of each key that varies."""
        return short_keys(self.keys, taken=SORTS)

    @cached_property
    def selecting(self) -> str:
        """The metric by which validation selects."""
        return _selecting(self.metrics, self.configurations)

    def lower_is_better(self, metric: str) -> bool:
        """Whether less of one of the group's metrics is more, as its runs say."""
        return _lower_is_better(metric, self.configurations)

    @cached_property
    def best(self) -> Configuration | None:
        """The best configuration on meta-val (`metarun.core.best_configuration`), if there are several with a value."""
        found = {place: one.by_seed("meta_val", self.selecting) for place, one in enumerate(self.configurations)}
        place = best(found, not self.lower_is_better(self.selecting))
        return None if place is None else self.configurations[place]

    @cached_property
    def several_seeds(self) -> bool:
        return any(one.seeds + one.missing > 1 for one in self.configurations)

    def label(self, configuration: Configuration) -> str:
        """What distinguishes a configuration from the others, in one line."""
        return label(configuration.first, self.names) or keys.told(configuration.first, "algorithm")


def label(run: Run, names: dict[str, str]) -> str:
    """A run's values of some keys: options as they are, others as ``key=value``."""
    told = [(key, keys.told(run, key)) for key in names if key in run.settings]
    return " ".join(value if key in PARTS else f"{names[key]}={value}" for key, value in told)


def grouped(runs: Sequence[Run], asked: Sequence[str], sort: str | None) -> tuple[list[Group], list[tuple[Run, Run]]]:
    """The groups of all finished runs, and which were left out for which newer run of the same settings and seed.

    asked: the metrics to show; none: each run's own. sort: as `SORTS` or a key, with a ``-`` in front for the reverse.
    Raises `UserError` for a metric or a key that no run has.
    """
    _check_metrics(runs, asked)
    order = _checked_sort(runs, sort)
    problems: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        if run.settings:
            identity = keys.of_the_problem(run)
            problems.setdefault(
                tuple(f"{key}={keys.fingerprint(identity[key])}" for key in sorted(identity)), []
            ).append(run)
    found, left_out = [], []
    for mine in problems.values():
        others = [problem[0] for problem in problems.values() if problem is not mine]
        for metric in dict.fromkeys(run.metric for run in mine if run.status == DONE):
            chosen = [run for run in mine if run.status != DONE or run.metric == metric]
            configurations, older = _configurations(chosen)
            left_out += older
            shown = [name for name in asked if any(name in one.first.metrics for one in configurations)]
            if asked and not shown:
                continue
            shown = shown or [metric]
            done = [run for one in configurations for run in one.runs]
            names = keys.varying(done)
            title = " · ".join(
                (_title(done, others), *_parts(done[0], names), metric if not asked else ", ".join(shown))
            )
            found.append(Group(title, shown, names, _sorted(configurations, order, shown)))
    return found, left_out


def _configurations(runs: Sequence[Run]) -> tuple[list[Configuration], list[tuple[Run, Run]]]:
    names = keys.varying(runs)
    together: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        together.setdefault(tuple(keys.of(run, name) for name in names), []).append(run)
    found, left_out = [], []
    for alike in together.values():
        seeds: dict[str, list[Run]] = {}
        for run in sorted((run for run in alike if run.status == DONE), key=lambda run: (run.time, str(run.folder))):
            seeds.setdefault(keys.fingerprint(run.seed), []).append(run)
        left_out += [(older, again[-1]) for again in seeds.values() for older in again[:-1]]
        if seeds:
            done = sorted((again[-1] for again in seeds.values()), key=lambda run: ordered(run.seed))
            unfinished = [run for run in alike if run.status != DONE and keys.fingerprint(run.seed) not in seeds]
            found.append(Configuration(done, unfinished))
    most = max((one.seeds for one in found), default=0)
    return [replace(one, missing=most - one.seeds) for one in found], left_out


def _selecting(metrics: Sequence[str], configurations: Sequence[Configuration]) -> str:
    validated = [name for name in metrics if any(one.over_seeds("meta_val", name) for one in configurations)]
    return validated[0] if validated else configurations[0].first.metric


def _lower_is_better(metric: str, configurations: Sequence[Configuration]) -> bool:
    runs = (run for one in configurations for run in one.runs if metric in run.metrics)
    return not next(runs).higher_is_better(metric)


def _rank(configuration: Configuration, stage: str, metric: str, lower: bool) -> tuple[bool, int, int, float]:
    """Smaller is better; what has no figure comes last, before it what has none for some seeds."""
    seeds = configuration.by_seed(stage, metric)
    return not seeds.found, *seeds.rank(not lower)


def _sorted(configurations: Sequence[Configuration], order: str, metrics: Sequence[str]) -> list[Configuration]:
    """What has no such value comes last, also in the reverse order."""
    name = order.removeprefix("-")
    ranking = {"val": ("meta_val", _selecting(metrics, configurations)), "test": ("meta_test", metrics[0])}
    if name in ranking:
        stage, metric = ranking[name]
        lower = _lower_is_better(metric, configurations)
        places: dict[int, tuple[Any, ...]] = {id(one): _rank(one, stage, metric, lower) for one in configurations}
    else:
        places = {id(one): _place(one, name) for one in configurations}
    found = sorted(configurations, key=lambda one: places[id(one)], reverse=order != name)
    return sorted(found, key=lambda one: bool(places[id(one)][0]))


def _place(configuration: Configuration, name: str) -> tuple[Any, ...]:
    """Where a configuration stands: whether it has no such value, and then by what it is ordered, least first."""
    if name == "seeds":
        return False, -len(configuration.runs)
    if name == "time":
        seconds = configuration.training("seconds")
        return seconds is None, seconds or 0.0
    if name == "speed":
        speed = configuration.training("tasks_per_second")
        return speed is None, -(speed or 0.0)
    return ordered(configuration.first.settings.get(name))


def ordered(value: Any) -> tuple[bool, int, float, str]:
    """Numbers by size, then texts, then what is missing."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return False, 0, value, ""
    return (True, 2, 0.0, "") if value is None else (False, 1, 0.0, str(value))


def _check_metrics(runs: Sequence[Run], asked: Sequence[str]) -> None:
    there = list(dict.fromkeys(name for run in runs if run.status == DONE for name in run.metrics))
    for name in asked:
        if name not in there:
            raise UserError(f"--metric {name}: no run has it{nearest(name, there)} (metrics: {listed(there)})")


def _checked_sort(runs: Sequence[Run], sort: str | None) -> str:
    if sort is None:
        return "val"
    name = sort.removeprefix("-")
    if name in SORTS:
        return sort
    every = dict.fromkeys(key for run in runs for key in run.settings)
    return sort[: len(sort) - len(name)] + keys.meant(name, [*SORTS, *every], f"--sort {sort}")


def _title(runs: Sequence[Run], others: Sequence[Run]) -> str:
    """Title of a problem, with what distinguishes it from the other problems of the same dataset."""
    run, mine = runs[0], keys.of_the_problem(runs[0])
    name = keys.told(run, "dataset")
    ways, shots, queries = (run.settings.get(f"dataset.{key}") for key in ("ways", "shots", "queries"))
    way = [f"{ways}-way"] if ways is not None else []
    shot = [f"{shots}-shot"] if shots is not None else []
    parts = [name, " ".join(way + shot), f"{queries} queries" if queries is not None else ""]
    told = {"dataset", "engine.transductive", *(f"dataset.{key}" for key in ("ways", "shots", "queries"))}
    for key in mine:
        alike = [other for other in others if keys.of(other, "dataset") == keys.of(run, "dataset")]
        if key not in told and any(keys.of(other, key) != keys.of(run, key) for other in alike):
            parts.append(f"{key.removeprefix('dataset.')}={keys.told(run, key)}")
    parts.append("transductive" if mine["engine.transductive"] is True else "inductive")
    return " · ".join(part for part in parts if part)


def _parts(run: Run, varying: Sequence[str]) -> list[str]:
    """The options that all runs share, where they are some."""
    shared = [run.settings.get(part) for part in ("model", "embedding", "hypernet", "algorithm") if part not in varying]
    return [str(option) for option in shared if option not in (None, "none")]
