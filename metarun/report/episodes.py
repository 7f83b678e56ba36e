"""The single episodes of a run's meta-test, from its ``episodes.csv``."""

import csv
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from metarun.report.keys import fingerprint
from metarun.report.runs import Run, Unreadable
from metarun.report.text import clean

EPISODES = "episodes.csv"
EPISODE_SEED = "engine.episode_seed"


@dataclass(frozen=True)
class Episodes:
    """A run's meta-test, episode by episode, in order.

    columns: the file's columns by name, as text.
    """

    columns: dict[str, list[str]]

    @property
    def count(self) -> int:
        return len(self.columns["episode"])

    @property
    def metrics(self) -> list[str]:
        """Names of the columns of numbers."""
        return [name for name in self.columns if name not in ("episode", "task", "task_name", "classes")]

    @property
    def named_tasks(self) -> bool:
        """Whether tasks are the dataset's own, with names, and so the same in whichever run."""
        return "classes" not in self.columns and any(self.columns.get("task_name", ()))

    @property
    def tasks(self) -> Sequence[Hashable]:
        """The task of each episode: by name where it has one, else by number."""
        if self.named_tasks:
            return list(zip(self.columns["task"], self.columns["task_name"], strict=True))
        return self.columns.get("task", self.columns["episode"])

    @property
    def classes(self) -> list[tuple[int, ...]] | None:
        """The classes of each episode; ``None`` where labels stand for none, or where they are no numbers."""
        rows = self.columns.get("classes")
        try:
            return None if rows is None else [tuple(map(int, row.split())) for row in rows]
        except ValueError:
            return None

    def values(self, metric: str) -> list[float]:
        """A metric of every episode, after adaptation. Raises `Unreadable` for what is no number."""
        try:
            return [float(text) for text in self.columns[metric]]
        except ValueError as error:
            raise Unreadable(f"{EPISODES} cannot be read: {clean(error)}") from error


def episodes(run: Run) -> Episodes:
    """The episodes of a run that is done. Raises `Unreadable`."""
    file = run.folder / EPISODES
    try:
        written = file.stat().st_mtime_ns
    except OSError as error:
        raise Unreadable(f"{clean(file)} cannot be read: {clean(error)}") from error
    return _read(file, written)


@lru_cache(maxsize=64)
def _read(file: Path, written: int) -> Episodes:
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            header, *rows = csv.reader(lines)
        if any(len(row) != len(header) for row in rows):
            raise ValueError("a row has other columns than the header")
        found = Episodes({name: [row[place] for row in rows] for place, name in enumerate(header)})
        if found.columns["episode"] != [str(number) for number in range(len(rows))] or not rows:
            raise ValueError("episodes are missing or out of order")
    except (OSError, ValueError, LookupError, csv.Error) as error:
        raise Unreadable(f"{clean(file)} cannot be read: {clean(error)}") from error
    return found


def drawn_by(run: Run) -> tuple[str, str]:
    """What decides a run's meta-test episodes besides the settings of its problem: the seed that they are drawn by, and
    that of the split where this is random.
    """
    seed = run.settings.get(EPISODE_SEED, run.seed)
    return fingerprint(seed), fingerprint(run.result.get("protocol", {}).get("split_seed"))


def shared(runs: Sequence[Run]) -> bool:
    """Whether runs of one problem were tested on the same episodes."""
    return len({drawn_by(run) for run in runs}) == 1
