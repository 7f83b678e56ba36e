"""What is known of configurations before a data set comes: the table in the package, and a user's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import Timeout
from numpy.typing import NDArray

from metarun.automl.collecting import PROTOCOL
from metarun.automl.cross_validation import METRICS
from metarun.automl.models import chosen
from metarun.automl.spaces import joint_space
from metarun.core.errors import UserError
from metarun.core.lock import held
from metarun.core.names import listed
from metarun.datasets.score_tables import tidy
from metarun.datasets.score_tables.encoding import encoded
from metarun.datasets.score_tables.space import Values, check
from metarun.datasets.score_tables.table import ScoreTable
from metarun.hpo.history import Floats, History

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace

OWN = "recommend.table"


def shipped_folder(kind: str) -> Path:
    """The folder in the package with the table for this kind of target, which ``mode=collect`` made."""
    return Path(str(files("metarun.automl").joinpath("shipped", kind)))


@cache
def shipped(kind: str) -> ScoreTable:
    """The table in the package."""
    return tidy.read(str(shipped_folder(kind)))


@cache
def full_space(kind: str) -> "ConfigurationSpace":
    """The space of all base models."""
    return joint_space(chosen(None, kind, "models"))


@dataclass(frozen=True)
class Knowledge:
    """The configurations that can be tried, and what is known of them.

    names, configurations: of the candidates. history: encoded candidates, and losses of past tasks on them. tasks:
    names of the past tasks.
    """

    names: tuple[str, ...]
    configurations: tuple[Values, ...]
    history: History
    tasks: tuple[str, ...]


def knowledge(kind: str, own: ScoreTable | None) -> Knowledge:
    """The table in the package and a user's own, together: all configurations and all tasks of both."""
    tables = [shipped(kind), *([] if own is None else [own])]
    places: dict[str, int] = {}
    names: list[str] = []
    configurations: list[Values] = []
    for table in tables:
        for name, values in zip(table.identifiers, table.configurations, strict=True):
            if _same(values) not in places:
                places[_same(values)] = len(names)
                names.append(name if name not in names else f"{name} of {table.source}")
                configurations.append(values)
    metric = next(iter(METRICS[kind]))
    sign = 1 if METRICS[kind][metric] == "minimize" else -1
    losses, features, tasks = [], [], []
    for table in tables:
        columns = [places[_same(values)] for values in table.configurations]
        for row, task in enumerate(table.tasks):
            scores = table.scores[metric][row]
            if np.isnan(scores).all():
                continue
            line = np.full(len(names), np.nan)
            line[columns] = sign * scores
            losses.append(line)
            features.append(table.features[row])
            tasks.append(task)
    encoding, _ = encoded(full_space(kind), configurations)
    history = History(encoding, np.array(losses), np.array(features))
    return Knowledge(tuple(names), tuple(configurations), history, tuple(tasks))


def _same(values: Values) -> str:
    return repr(sorted(values.items()))


def own_table(path: str | None, kind: str, append: bool) -> ScoreTable | None:
    """A user's table; None without a path, and where one will be made. Raises `UserError` for one of other content."""
    if path is None:
        return None
    folder = Path(path).expanduser()
    if not tidy.is_tidy(folder):
        if append and (not folder.exists() or (folder.is_dir() and not any(folder.glob("[!.]*")))):
            return None
        raise UserError(f"{OWN}={path}: no table of scores; give a folder that mode=collect or mode=recommend wrote")
    if append and (folder / PROTOCOL).exists():
        raise UserError(
            f"recommend.append=true: {path} belongs to mode=collect, which would not keep what is added; choose "
            "another folder to append to"
        )
    table = tidy.read(path)
    if set(METRICS[kind]) - set(table.scores):
        raise UserError(f"{OWN}={path}: has the metrics {listed(table.scores)}; {kind} needs {listed(METRICS[kind])}")
    if table.feature_names != shipped(kind).feature_names:
        raise UserError(f"{OWN}={path}: its meta-features are not those of this version of metarun; collect it again")
    for name, values in zip(table.identifiers, table.configurations, strict=True):
        check(full_space(kind), name, values, f"{OWN}={path}")
    return table


@dataclass(frozen=True)
class Observation:
    """One configuration on the new data set. scores: by metric; None where it failed."""

    name: str
    configuration: Values
    scores: dict[str, float] | None
    seconds: float | None


def append(path: str, kind: str, task: str, features: Floats, found: Sequence[Observation]) -> None:
    """Add a data set's scores to a user's table, or make one. Scores of the same task are replaced."""
    folder = Path(path).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder, wait=True):
            own = own_table(path, kind, append=True)
            tidy.write(folder, _extended(path, own, kind, task, features, found))
    except Timeout as error:
        raise UserError(f"{OWN}={path}: in use by another process") from error
    except OSError as error:
        raise UserError(f"{OWN}={path}: cannot be written: {error.strerror or error}") from error


def _extended(
    path: str, own: ScoreTable | None, kind: str, task: str, features: Floats, found: Sequence[Observation]
) -> ScoreTable:
    metrics = METRICS[kind]
    known = [] if own is None else list(zip(own.identifiers, own.configurations, strict=True))
    places = {_same(values): place for place, (_, values) in enumerate(known)}
    for each in found:
        if _same(each.configuration) not in places:
            places[_same(each.configuration)] = len(known)
            taken = {name for name, _ in known}
            name = each.name if each.name not in taken else f"{each.name}-{len(known)}"
            known.append((name, each.configuration))
    tasks = () if own is None else own.tasks
    row = tasks.index(task) if task in tasks else len(tasks)
    shape = (max(len(tasks), row + 1), len(known))

    def grown(old: NDArray[np.float64] | None) -> NDArray[np.float64]:
        new = np.full(shape, np.nan)
        if old is not None:
            new[: old.shape[0], : old.shape[1]] = old
        return new

    scores = {name: grown(None if own is None else own.scores[name]) for name in metrics}
    seconds = grown(None if own is None else own.seconds)
    failed = np.zeros(shape, np.bool_)
    if own is not None:
        failed[: own.failed.shape[0], : own.failed.shape[1]] = own.failed
    for each in found:
        cell = row, places[_same(each.configuration)]
        failed[cell] = each.scores is None
        seconds[cell] = np.nan if each.seconds is None else each.seconds
        for name in metrics:
            scores[name][cell] = np.nan if each.scores is None else each.scores[name]
    every = np.zeros((shape[0], len(features)))
    groups = np.zeros(shape[0], np.int64)
    if own is not None:
        every[: len(tasks)], groups[: len(tasks)] = own.features, own.groups
        groups[row] = groups[row] if row < len(tasks) else own.groups.max() + 1
    every[row] = features
    return ScoreTable(
        path,
        (*tasks[:row], task, *tasks[row + 1 :]),
        tuple(name for name, _ in known),
        full_space(kind),
        tuple(values for _, values in known),
        scores,
        dict(metrics),
        seconds,
        failed,
        groups,
        every,
        shipped(kind).feature_names,
    )
