"""What is known of past tasks: the scores of configurations on data sets."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metarun.core.errors import UserError
from metarun.core.names import listed, nearest
from metarun.datasets.score_tables.space import Values

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace

Direction = str
"""``minimize`` or ``maximize``."""
DIRECTIONS = ("minimize", "maximize")


@dataclass(frozen=True)
class ScoreTable:
    """Scores of configurations on tasks, each a data set.

    source: where it was read from. tasks, identifiers: names of the tasks and of the configurations. configurations:
    their active values, all of ``space``. scores: for each metric, float64 ``[tasks, configurations]``, NaN where the
    configuration was not evaluated, or failed. directions: of each metric. seconds: of each evaluation, NaN where
    unknown; ``None`` if the table has no times. failed: bool, which evaluations ended without a score. groups: int64
    ``[tasks]``; tasks that are variants of one data set share a number. features: meta-features, float64
    ``[tasks, m]``; feature_names: theirs.
    """

    source: str
    tasks: tuple[str, ...]
    identifiers: tuple[str, ...]
    space: "ConfigurationSpace"
    configurations: Sequence[Values]
    scores: Mapping[str, NDArray[np.float64]]
    directions: Mapping[str, Direction]
    seconds: NDArray[np.float64] | None
    failed: NDArray[np.bool_]
    groups: NDArray[np.int64]
    features: NDArray[np.float64]
    feature_names: tuple[str, ...] = field(default=())

    def metric(self, name: str | None) -> str:
        """The metric of that name; ``None``: the table's first. Raises `UserError` for an unknown one."""
        if name is None:
            return next(iter(self.scores))
        if name not in self.scores:
            raise UserError(
                f"dataset.metric={name}: {self.source} has no such metric{nearest(name, self.scores)} "
                f"(metrics: {listed(self.scores)})"
            )
        return name

    def part(self, configurations: NDArray[np.int64]) -> "ScoreTable":
        """The table of these configurations alone, by number."""
        return ScoreTable(
            self.source,
            self.tasks,
            tuple(self.identifiers[place] for place in configurations),
            self.space,
            [self.configurations[place] for place in configurations],
            {name: scores[:, configurations] for name, scores in self.scores.items()},
            self.directions,
            None if self.seconds is None else self.seconds[:, configurations],
            self.failed[:, configurations],
            self.groups,
            self.features,
            self.feature_names,
        )

    @property
    def fingerprint(self) -> str:
        """A hash of all names and numbers, the same for equal tables whatever files they come from."""
        names = (self.tasks, self.identifiers, self.feature_names, tuple(self.scores), dict(self.directions))
        values = [sorted((name, repr(value)) for name, value in each.items()) for each in self.configurations]
        content = hashlib.blake2b(repr((names, values)).encode(), digest_size=8)
        for array in (*self.scores.values(), self.groups, self.features):
            content.update(_bytes(array))
        return content.hexdigest()


def grouped(groups: Sequence[str], scores: Mapping[str, NDArray[np.float64]]) -> NDArray[np.int64]:
    """Group numbers of tasks ``[tasks]``: tasks with the same group name, or with the same scores, share one.

    Equal scores of every configuration, in all metrics, are those of one data set under two names.
    """
    parent = list(range(len(groups)))

    def root(task: int) -> int:
        while parent[task] != task:
            task = parent[task]
        return task

    for key in (
        list(groups),
        [b"".join(_bytes(each[task]) for each in scores.values()) for task in range(len(groups))],
    ):
        first: dict[object, int] = {}
        for task, value in enumerate(key):
            parent[root(task)] = root(first.setdefault(value, task))
    roots = [root(task) for task in range(len(groups))]
    numbers = {found: number for number, found in enumerate(dict.fromkeys(roots))}
    return np.array([numbers[found] for found in roots], np.int64)


def _bytes(array: NDArray[Any]) -> bytes:
    """The numbers as bytes; NaNs, of which there are several, as the same ones."""
    return (np.where(np.isnan(array), np.nan, array) if array.dtype.kind == "f" else array).tobytes()
