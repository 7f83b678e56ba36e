"""The single episodes of a run's meta-test, from its ``episodes.csv``."""

import csv
from array import array
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from metarun.report.keys import fingerprint
from metarun.report.runs import Run, Unreadable
from metarun.report.text import clean
from metarun.runs.files import EPISODES, episodes_file

EPISODE_SEED = "engine.episode_seed"
_FACTS = ("episode", "task", "task_name", "classes")
"""The columns that are no metrics."""
Texts = TypeVar("Texts")


@dataclass(frozen=True)
class EpisodeTable:
    """A run's meta-test, episode by episode, in order.

    values: every metric after adaptation, by name. tasks: the task of each episode, its number and name, or its number
    alone. classes: the classes of each, as written; ``None`` where labels stand for none.
    """

    values: Mapping[str, Sequence[float]]
    tasks: Sequence[Hashable]
    classes: Sequence[str] | None
    named_tasks: bool
    """Whether tasks are the dataset's own, with names, and so the same in whichever run."""

    @property
    def count(self) -> int:
        return len(self.tasks)

    @property
    def drawn_classes(self) -> list[tuple[int, ...]] | None:
        """The numbers of the classes of each episode; ``None`` where there are none, or no numbers."""
        try:
            return None if self.classes is None else [tuple(map(int, row.split())) for row in self.classes]
        except ValueError:
            return None


def episodes(run: Run) -> EpisodeTable:
    """The episodes of a run that is done. Raises `Unreadable`."""
    file = run.folder / (episodes_file(run.further) if run.further else EPISODES)
    try:
        written = file.stat().st_mtime_ns
    except OSError as error:
        raise Unreadable(f"{clean(file)} cannot be read: {clean(error)}") from error
    return _read(file, written)


@lru_cache(maxsize=1000)
def _read(file: Path, written: int) -> EpisodeTable:
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            header, *rows = csv.reader(lines)
        columns = dict(zip(header, zip(*rows, strict=True), strict=True))
        if columns["episode"] != tuple(map(str, range(len(rows)))):
            raise ValueError("episodes are missing or out of order")
        metrics = [name for name in columns if name not in _FACTS and not name.endswith("_before")]
        values = {name: array("d", map(float, columns[name])) for name in metrics}
    except (OSError, ValueError, LookupError, csv.Error) as error:
        raise Unreadable(f"{clean(file)} cannot be read: {clean(error)}") from error
    tasks: tuple[Hashable, ...] = columns.get("task", columns["episode"])
    named = "classes" not in columns and any(columns.get("task_name", ()))
    if named:
        tasks = tuple(zip(tasks, columns["task_name"], strict=True))
    return EpisodeTable(values, _same(tasks), _same(columns.get("classes")), named)


@lru_cache(maxsize=100)
def _same(texts: Texts) -> Texts:
    """The texts, in one place of memory for all runs that have the same."""
    return texts


def drawn_by(run: Run) -> tuple[str, str]:
    """What decides a run's meta-test episodes besides the settings of its problem: the seed that they are drawn by, and
    that of the split where this is random.
    """
    seed = run.settings.get(EPISODE_SEED, run.seed)
    return fingerprint(seed), fingerprint(run.split_seed)


def shared(runs: Sequence[Run]) -> bool:
    """Whether runs of one problem were tested on the same episodes."""
    return len({drawn_by(run) for run in runs}) == 1
