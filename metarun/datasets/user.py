"""Bases for a user's own datasets: they say what a task holds, and all the rest is done here.

The class is a dataclass whose fields are the keys of its YAML file. What is below is no field: give it as a plain class
attribute or a property, without an annotation.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from metarun.core.inputs import Input
from metarun.core.kinds import TaskKind
from metarun.datasets.base import Dataset, Seeds
from metarun.datasets.user_streams import DrawnTasks, ListedTasks


class _UserDataset(ABC):
    """What both bases have."""

    kind: ClassVar[TaskKind]
    """`metarun.core.kinds.Classification(ways)` or `metarun.core.kinds.Regression(dimensions)`, of all tasks."""
    input_shape: ClassVar[tuple[int, ...] | Mapping[str, tuple[int, ...] | Input]]
    """Shape of one input x; of named inputs, a dictionary with the shape of each, or with a `metarun.core.inputs.Input`
    for one that an example may lack."""
    descriptor_size: ClassVar[int] = 0
    """How many numbers describe a task; where there are any, they come fifth (see below)."""

    @property
    def name(self) -> str:
        """What summaries and results call the dataset."""
        return type(self).__name__

    def prepare(self) -> None:
        """Called once before the first task: the place to read data. For a mistake raise `UserError`."""
        return


class UserTasks(_UserDataset):
    """Tasks that are drawn at random, a fresh one at every visit."""

    largest: ClassVar[tuple[int, int] | None] = None
    """Where tasks differ in size: the most support and the most query examples of one. Smaller ones are padded."""
    repeats: ClassVar[bool] = False
    """Whether `task` draws from finitely many tasks, such as patients, so that they come again. It then returns the
    number of the task, from 0, as its last value, and intervals count tasks instead of episodes."""

    @abstractmethod
    def task(self, split: str, generator: np.random.Generator) -> Sequence[Any]:
        """One task of a split, ``train``, ``val`` or ``test``: support x, support y, query x, query y[, descriptor].

        x: ``[n, *input_shape]``, or a dictionary of these by name, in which rows of NaN mean that an optional part is
        missing; y: class numbers ``[n]`` (integers from 0) or targets ``[n, dimensions]``; of one
        number each, ``[n]`` will do. Whatever is random must come from ``generator``, so that a task is the same at
        every call and a resumed run meets the same ones. What differs between the splits is up to you: they get other
        random numbers each.
        """

    def load(self, seed: int, device: torch.device, dtype: torch.dtype, episode_seed: int = 0) -> Dataset:
        """See `DatasetConfig.load`."""
        self.prepare()
        return DrawnTasks(self, Seeds(seed, episode_seed), device, dtype)


class UserTaskList(_UserDataset):
    """Tasks that are there, so many of each split, each always with the same support and query.

    Those of meta-training are visited again and again in random order, and are known tasks (see `Dataset`); validation
    and test measure each of theirs once. They may differ in size.
    """

    @abstractmethod
    def tasks(self, split: str) -> Sequence[Sequence[Any]]:
        """All tasks of a split, ``train``, ``val`` or ``test``, each as `UserTasks.task` gives one."""

    def load(self, seed: int, device: torch.device, dtype: torch.dtype, episode_seed: int = 0) -> Dataset:
        """See `DatasetConfig.load`."""
        self.prepare()
        return ListedTasks(self, Seeds(seed, episode_seed), device, dtype)
