"""What every dataset offers: tasks, drawn purely from (seed, split, number)."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from metarun.config.fields import number
from metarun.kinds import TaskKind
from metarun.tasks import TaskBatch


class Dataset(Protocol):
    """A loaded dataset, its data on the run's device."""

    name: str
    input_shape: tuple[int, ...]
    """Shape of one input x."""

    def kind(self, split: str) -> TaskKind:
        """The kind of the split's tasks (training may have more ways than testing)."""
        ...

    def sample(self, split: str, index: int, tasks: int) -> TaskBatch:
        """Tasks number ``index * tasks`` to ``(index + 1) * tasks - 1`` of a split: the same at every call."""
        ...

    def summary(self) -> str:
        """A line for people: episode shape and what each split holds."""
        ...

    def protocol(self) -> dict[str, Any]:
        """Plain values that a result must name to be comparable: ways, shots, queries, splits, rotations."""
        ...


class DatasetConfig(Protocol):
    """The keys of a ``conf/dataset/*.yaml`` file."""

    def load(self, seed: int, device: torch.device, dtype: torch.dtype) -> Dataset:
        """Read, check and place the data. Raises `UserError` when they are missing, broken or too few."""
        ...


@dataclass
class EpisodeShape:
    """Keys shared by all few-shot datasets; ``train_*`` are for meta-training only and default to the others."""

    ways: int = number(least=2)
    shots: int = number(least=1)
    queries: int = number(least=1)
    train_ways: int | None = number(least=2)
    train_shots: int | None = number(least=1)
    train_queries: int | None = number(least=1)
