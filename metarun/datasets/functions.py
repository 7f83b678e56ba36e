"""Base class of synthetic datasets: a task is a real function y = f_t(x), its examples are noisy points."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metarun.core.counters import key, keys, uniform
from metarun.core.errors import UserError
from metarun.core.fields import number
from metarun.core.inputs import InputSpec
from metarun.core.kinds import Regression
from metarun.core.names import shown
from metarun.core.tasks import Examples, TaskBatch, batch
from metarun.datasets.base import Seeds, split_of


@dataclass(kw_only=True)
class FunctionsConfig:
    """Keys shared by all datasets of functions."""

    shots: int = number(least=1)
    queries: int = number(least=1)
    noise: float = number(least=0)

    @property
    def known_tasks(self) -> int:
        """See `Dataset.known_tasks`."""
        return 0


@dataclass(kw_only=True)
class DrawnFunctionsConfig(FunctionsConfig):
    """Keys shared by those whose functions are drawn at random."""

    tasks: int | None = number(least=1)

    @property
    def known_tasks(self) -> int:
        return self.tasks or 0


class Visits(NamedTuple):
    """T visits to tasks: what decides their functions.

    number, identity: as in `metarun.core.tasks.Task`, ``[T]``; group: the place in ``groups``, 0 where there are none.
    """

    stream: str
    number: Tensor
    identity: Tensor
    group: Tensor


class Functions(ABC):
    """Every task has its own function, and every visit new points; streams have separate seeds.

    With known tasks, meta-training visits these again and again, each as often as any other; meta-validation and
    meta-test still draw new ones. Known task k is of group k modulo the number of groups.
    """

    name: str
    inputs = InputSpec.of((1,))
    groups: tuple[str, ...] = ()
    grouped_test = True
    descriptor_size: int
    training_classes = 0
    split = "separate seeds"
    """How the tasks of the splits differ, for `protocol`."""

    def __init__(
        self,
        config: FunctionsConfig,
        seeds: Seeds,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._config, self.known_tasks = config, config.known_tasks
        self._shots, self._points, self._noise = config.shots, config.shots + config.queries, config.noise
        self._seeds, self._device, self._dtype = seeds, device, dtype

    def kind(self, stream: str) -> Regression:
        return Regression()

    def truth(self, stream: str, numbers: Tensor, group: int | None = None) -> tuple[Tensor, ...]:
        """What makes the functions of the tasks of these ``numbers`` ``[T]``: float64 ``[T]`` each."""
        return self._parameters(self._visits(stream, numbers, group)).unbind(-1)

    def values(self, stream: str, numbers: Tensor, x: Tensor, group: int | None = None) -> Tensor:
        """f_t(x) of the tasks of these ``numbers`` ``[T]``, without noise, for ``x`` ``[T, n]``: float64 ``[T, n]``."""
        visits = self._visits(stream, numbers, group)
        return self._values(visits, self._parameters(visits), x)

    def sample(self, stream: str, index: int, tasks: int, group: int | None = None) -> TaskBatch:
        """See `Dataset.sample`. x and y: ``[T, shots, 1]`` and ``[T, queries, 1]``. Groups share random numbers."""
        visits = self._visits(stream, index * tasks + torch.arange(tasks, device=self._device), group)
        parameters = self._parameters(visits)
        x = self._inputs(visits, parameters)
        y = self._values(visits, parameters, x)
        if self._noise:
            noise = self._noise * normal(self._keys(stream, "noise", visits.number), self._points)
            y = y + torch.where(self._noisy(stream), noise, 0)
        x, y = x.unsqueeze(-1).to(self._dtype), y.unsqueeze(-1).to(self._dtype)
        support = Examples(x[:, : self._shots], y[:, : self._shots])
        query = Examples(x[:, self._shots :], y[:, self._shots :])
        descriptor = self._descriptor(visits, parameters).to(self._dtype)
        return batch(support, query, visits.number, visits.identity, descriptor, source=visits.identity)

    def distinct(self, stream: str, group: int | None = None) -> None:
        """See `Dataset.distinct`: every visit has new points."""
        return

    def facts(self, stream: str, tasks: TaskBatch) -> dict[str, list[str]]:
        """See `Dataset.facts`."""
        visits = self._visited(stream, tasks)
        return self._told(visits, self._parameters(visits))

    def summary(self) -> str:
        known = f", {self.known_tasks} known tasks" if self.known_tasks else ""
        sizes = f"{self._shots}-shot · {self._points - self._shots} queries"
        return f"{self.name} · {sizes}      {self._remark()}, noise {self._noise:g}{known}"

    def protocol(self) -> dict[str, Any]:
        return {
            **{"dataset": self.name, "shots": self._shots, "queries": self._points - self._shots},
            **self._settings(),
            **{"noise": self._noise, "known_tasks": self.known_tasks, "split": self.split},
        }

    @abstractmethod
    def _parameters(self, visits: Visits) -> Tensor:
        """What makes the functions: float64 ``[T, parameters]``."""

    @abstractmethod
    def _inputs(self, visits: Visits, parameters: Tensor) -> Tensor:
        """The points' x: float64 ``[T, shots + queries]``."""

    @abstractmethod
    def _values(self, visits: Visits, parameters: Tensor, x: Tensor) -> Tensor:
        """f_t(x) for ``x`` ``[T, n]``: float64 ``[T, n]``."""

    @abstractmethod
    def _descriptor(self, visits: Visits, parameters: Tensor) -> Tensor:
        """The true parameters, as an oracle would give them, brought to about -1 to 1: ``[T, descriptor_size]``."""

    @abstractmethod
    def _told(self, visits: Visits, parameters: Tensor) -> dict[str, list[str]]:
        """The functions in words, for `facts`."""

    @abstractmethod
    def _remark(self) -> str:
        """The distribution in words, for `summary`."""

    @abstractmethod
    def _settings(self) -> dict[str, Any]:
        """The distribution's keys, for `protocol`."""

    def _noisy(self, stream: str) -> Tensor:
        """Which of the points are under noise: bool ``[shots + queries]``, here all."""
        return torch.ones(self._points, dtype=torch.bool, device=self._device)

    def _visits(self, stream: str, numbers: Tensor, group: int | None) -> Visits:
        self._check(group)
        groups = max(len(self.groups), 1)
        draw = uniform(self._keys(stream, "task", numbers), 1).squeeze(-1)
        if not self.known_tasks or split_of(stream) != "train":
            drawn = (draw * groups).long() if group is None else torch.full_like(numbers, group)
            return Visits(stream, numbers, torch.full_like(numbers, -1), drawn)
        if group is None:
            identity = (draw * self.known_tasks).long()
        else:
            identity = group + groups * (draw * len(range(group, self.known_tasks, groups))).long()
        return Visits(stream, numbers, identity, identity % groups)

    def _visited(self, stream: str, tasks: TaskBatch) -> Visits:
        """The visits that gave these tasks."""
        return Visits(stream, tasks.number, tasks.identity, torch.zeros_like(tasks.number))

    def _check(self, group: int | None) -> None:
        if group is not None and not 0 <= group < len(self.groups):
            raise ValueError(f"no group {group}; {self.name} has {len(self.groups)}")

    def _task_keys(self, visits: Visits, purpose: str) -> Tensor:
        """Keys ``[T]`` for what is the same whenever a task is visited."""
        known = keys(key(self._seeds.run, "dataset", "known", purpose), visits.identity)
        return torch.where(visits.identity < 0, self._keys(visits.stream, purpose, visits.number), known)

    def _episode_keys(self, visits: Visits) -> Tensor:
        """Keys ``[T]`` for the points of each visit."""
        return self._keys(visits.stream, "points", visits.number)

    def _keys(self, stream: str, purpose: str, numbers: Tensor) -> Tensor:
        return keys(key(self._seeds.of(stream), "dataset", stream, purpose), numbers)


def check_range(name: str, bounds: list[float]) -> None:
    """Refuse what is no range of numbers. Raises `UserError` that calls it ``dataset.name``."""
    if len(bounds) != 2 or not all(map(math.isfinite, bounds)) or bounds[0] > bounds[1]:
        raise UserError(f"dataset.{name}={shown(bounds)}: give two numbers, lowest and highest, as in [0.1,5]")


def in_words(ranges: Iterable[tuple[str, list[float]]]) -> str:
    """Ranges as in "amplitude 0.1 to 5, x -5 to 5"."""
    return ", ".join(f"{name} {bounds[0]:g} to {bounds[1]:g}" for name, bounds in ranges)


def in_columns(names: Iterable[str], values: Tensor) -> dict[str, list[str]]:
    """Numbers ``[T, columns]`` as text with three digits, a column under each name."""
    columns = zip(names, values.unbind(-1), strict=True)
    return {name: [f"{value:.3g}" for value in column.tolist()] for name, column in columns}


def between(fraction: Tensor, lowest: float | Tensor, highest: float | Tensor) -> Tensor:
    """Fractions from 0 to 1 of the way from the lowest to the highest."""
    return lowest + fraction * (highest - lowest)


def bounds(ranges: list[list[float]], device: torch.device) -> tuple[Tensor, Tensor]:
    """The lowest and highest numbers of ranges, float64, to be made once: a GPU waits for numbers from the host."""
    lowest, highest = torch.tensor(ranges, dtype=torch.float64, device=device).unbind(-1)
    return lowest, highest


def scaled(values: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
    """Values brought from their ranges to -1 to 1; 0 where the range is a single number."""
    half = (highest - lowest) / 2
    return torch.where(half > 0, (values - (lowest + highest) / 2) / half, 0)


def normal(of: Tensor, count: int) -> Tensor:
    """``[..., count]`` standard normal numbers, for keys ``[...]`` (Box & Muller 1958)."""
    radius, turn = uniform(of, 2 * count).split(count, -1)
    return (-2 * torch.log1p(-radius)).sqrt() * torch.cos(2 * math.pi * turn)
