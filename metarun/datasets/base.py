"""The interface of datasets: tasks as a pure function of (seed, stream, number).

Classes (or, for synthetic tasks, seeds) fall into three splits: `metarun.core.tasks.SPLITS`. Tasks come in four
streams:
one for each split, in which ``train`` tasks have the shape of meta-training, and ``train_eval``: meta-train classes
in episodes of the test's shape, so that the gap between seen and unseen classes can be measured like with like.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from metarun.core.fields import number
from metarun.core.inputs import InputSpec
from metarun.core.kinds import TaskKind, with_likelihood
from metarun.core.tasks import SPLITS, TaskBatch

STREAMS = (*SPLITS, "train_eval")
"""The names that `Dataset.sample` takes. Streams share no random numbers."""


def split_of(stream: str) -> str:
    """The split whose classes a stream draws from. Raises `ValueError` for a name that is no stream."""
    if stream not in STREAMS:
        raise ValueError(f"no stream {stream!r}; the streams are {', '.join(STREAMS)}")
    return "train" if stream == "train_eval" else stream


class Seeds(NamedTuple):
    """What the tasks of a dataset are drawn by.

    run: the run's seed, which decides meta-training, what known tasks are, and splits that are random by definition.
    episodes: ``engine.episode_seed``, which decides the episodes of all other streams.
    """

    run: int
    episodes: int

    def of(self, stream: str) -> int:
        """The seed of a stream. Raises `ValueError` for a name that is no stream."""
        split_of(stream)
        return self.run if stream == "train" else self.episodes


class Sampler(Protocol):
    """What tasks come from."""

    def sample(self, stream: str, index: int, tasks: int, group: int | None = None) -> TaskBatch:
        """Tasks number ``index * tasks`` to ``(index + 1) * tasks - 1`` of a stream: the same at every call.

        What a task holds depends on the stream and its seed (`Seeds.of`), the group asked for and its number alone, not
        on how tasks are batched. With ``group`` all tasks are of that group (a place in ``groups``); else of any.
        """
        ...


class Dataset(Sampler, Protocol):
    """A loaded dataset, its data on the run's device."""

    name: str
    inputs: InputSpec
    """What one input x is."""

    def kind(self, stream: str) -> TaskKind:
        """The kind of the stream's labels (training may have more ways than testing).

        What is predicted of them may be more: the kind of a `Problem` follows from it and the run's likelihood.
        """
        ...

    known_tasks: int
    """Number of recurring meta-training tasks, identified as 0, 1, …; 0: every task is new."""
    descriptor_size: int
    """Features that the dataset gives of a task; 0: none."""
    training_classes: int
    """Classes of meta-training, which `Task.classes` numbers; 0: a label means the same in every task."""
    groups: tuple[str, ...]
    """Names of the groups that its tasks fall into, for training on one after another; empty: none."""
    grouped_test: bool
    """Whether tasks of meta-val and meta-test fall into the groups too; if not, `sample` takes none for them."""

    def distinct(self, stream: str, group: int | None = None) -> int | None:
        """How many tasks of a stream differ by more than the order of their examples; None: there is no end of them.

        Where there is one, tasks so many numbers apart are the same. ``group``: as given to `sample`.
        """
        ...

    def facts(self, stream: str, tasks: TaskBatch) -> dict[str, list[str]]:
        """What people may want to know of each task, for a legend: its family, say, and its parameters."""
        ...

    def summary(self) -> str:
        """A line for people: episode shape and what each split holds."""
        ...

    def protocol(self) -> dict[str, Any]:
        """Plain values that a result must name to be comparable: ways, shots, queries, splits, rotations.

        ``split_seed`` is the run's seed where that decides the split; left out where the split is fixed.
        """
        ...


@runtime_checkable
class KnowsFunctions(Protocol):
    """A dataset whose tasks are functions that it knows."""

    def values(self, stream: str, numbers: Tensor, x: Tensor, group: int | None = None) -> Tensor:
        """f_t(x) of the tasks of these ``numbers`` ``[T]``, without noise, for ``x`` ``[T, n]``: float64 ``[T, n]``."""
        ...


@runtime_checkable
class NamesClasses(Protocol):
    """A dataset whose classes have names that mean the same in every task."""

    def class_names(self, stream: str) -> tuple[str, ...]:
        """By the numbers of `Task.classes`; where tasks have none, by label. Empty where there are no classes."""
        ...


@runtime_checkable
class NamesTasks(Protocol):
    """A dataset of finitely many tasks that have names."""

    def task_names(self, stream: str) -> tuple[str, ...]:
        """By the numbers of `Task.source`."""
        ...


def task_names(dataset: Dataset, stream: str) -> tuple[str, ...]:
    """The names of a stream's tasks; empty where they have none."""
    return dataset.task_names(stream) if isinstance(dataset, NamesTasks) else ()


def class_names(dataset: Dataset, stream: str) -> tuple[str, ...]:
    """The names of a stream's classes; none where they have none that mean the same in every task."""
    return dataset.class_names(stream) if isinstance(dataset, NamesClasses) else ()


@dataclass(frozen=True)
class Problem:
    """What a learner is built for: all that it needs to know of a dataset, so that it can be built again without.

    kind: of tasks as at meta-test; training_kind: of meta-training tasks, which may have more ways. source: what
    identifies the data (`source_of`). The others are as in `Dataset`.
    """

    name: str
    inputs: InputSpec
    kind: TaskKind
    training_kind: TaskKind
    known_tasks: int
    descriptor_size: int
    training_classes: int
    source: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def tested_on(self, other: "Problem") -> "Problem":
        """What a learner trained for this problem is built for when it is tested on another: tasks as there, and
        everything of meta-training (classes, ways, known tasks, source) as here.
        """
        return replace(self, inputs=other.inputs, kind=other.kind, descriptor_size=other.descriptor_size)


def problem(dataset: Dataset, likelihood: str | None = None) -> Problem:
    """The problem of a dataset's tasks.

    likelihood: of the labels; ``None``, or one that the labels cannot have: the dataset's own kind.
    """
    kinds = {stream: dataset.kind(stream) for stream in ("test", "train")}
    if likelihood is not None:
        kinds = {stream: with_likelihood(kind, likelihood) for stream, kind in kinds.items()}
    return Problem(
        name=dataset.name,
        inputs=dataset.inputs,
        kind=kinds["test"],
        training_kind=kinds["train"],
        known_tasks=dataset.known_tasks,
        descriptor_size=dataset.descriptor_size,
        training_classes=dataset.training_classes,
        source=source_of(dataset),
    )


_SHAPES = frozenset(f"{stage}{size}" for stage in ("", "train_") for size in ("ways", "shots", "queries"))
"""What a protocol says of the shape of episodes, which is not part of the data that they are drawn from."""


@runtime_checkable
class NamesSource(Protocol):
    """A dataset whose protocol does not identify its data, or says more than that."""

    def source(self) -> dict[str, Any]:
        """Plain values that are equal for equal data and splits, whatever the shape of the episodes."""
        ...


def source_of(dataset: Dataset) -> dict[str, Any]:
    """What identifies the data that a dataset's tasks are drawn from, in JSON types: its protocol without shapes.

    Two datasets with equal sources have the same meta-train, meta-val and meta-test data.
    """
    facts = dataset.source() if isinstance(dataset, NamesSource) else dataset.protocol()
    plain: dict[str, Any] = json.loads(json.dumps({k: v for k, v in facts.items() if k not in _SHAPES}, default=str))
    return {"dataset": dataset.name, **plain}


def data_name(source: Mapping[str, Any]) -> str:
    """A source as people call it: the dataset, with its file or folder where it is the user's."""
    place = source.get("file") or source.get("folder")
    name = source.get("dataset", "unknown data")
    return f"{name} ({place})" if place else str(name)


class DatasetConfig(Protocol):
    """The keys of a ``conf/dataset/*.yaml`` file."""

    def load(self, seed: int, device: torch.device, dtype: torch.dtype, episode_seed: int = 0) -> Dataset:
        """Read, check and place the data. Raises `UserError` when they are missing, broken or too few.

        Args:
            seed: The run's: of meta-training tasks, and of splits that are random by definition.
            device: Where the data are placed.
            dtype: Of inputs and of regression targets.
            episode_seed: Of the tasks of all streams but ``train`` (`Seeds`).
        """
        ...


class EpisodeSizes(NamedTuple):
    """Classes of a task, and the examples of each class in its support and its query set."""

    ways: int
    shots: int
    queries: int


@dataclass
class EpisodeShape:
    """Keys shared by all few-shot datasets; ``train_*`` are for meta-training only and default to the others."""

    ways: int = number(least=2)
    shots: int = number(least=1)
    queries: int = number(least=1)
    train_ways: int | None = number(least=2)
    train_shots: int | None = number(least=1)
    train_queries: int | None = number(least=1)

    def sizes(self, stream: str) -> EpisodeSizes:
        """The sizes of a stream's tasks."""
        if stream != "train":
            return EpisodeSizes(self.ways, self.shots, self.queries)
        return EpisodeSizes(
            self.train_ways or self.ways, self.train_shots or self.shots, self.train_queries or self.queries
        )
