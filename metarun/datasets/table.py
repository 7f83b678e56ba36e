"""Tasks from a table: one row an example, one column that says of which task, one column to predict."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metarun.core.counters import key, keys, uniform
from metarun.core.errors import UserError
from metarun.core.fields import choice
from metarun.core.inputs import InputSpec
from metarun.core.kinds import Classification, Regression
from metarun.core.tasks import SPLITS, AnyExamples, Examples, PaddedExamples, TaskBatch, batch
from metarun.datasets.base import Seeds, split_of
from metarun.datasets.table_columns import TaskRows, constant_within_tasks, numbered
from metarun.datasets.table_files import quoted, read
from metarun.datasets.table_split import divided
from metarun.datasets.table_streams import Draw, TableShape, streams


@dataclass(kw_only=True)
class TableConfig(TableShape):
    """Keys of ``conf/dataset/table.yaml``."""

    task: str
    target: str
    features: list[str] | None
    kind: str = choice("regression", "classification")

    def load(self, seed: int, device: torch.device, dtype: torch.dtype, episode_seed: int = 0) -> "TableDataset":
        rows = numbered(read(self.path), self.task, self.target, self.features, self.kind)
        return TableDataset("table", rows, self, Seeds(seed, episode_seed), device, dtype)


class TableDataset:
    """Tasks whose examples are rows of a table, sampled at every visit.

    With ``split=rows`` every task is in all three splits, which part its rows: meta-test adapts to a task's meta-train
    and meta-val rows and is judged on its meta-test rows, meta-val likewise on meta-train and meta-val rows. With
    ``split=tasks`` the splits part the tasks, and support and query are of the same rows, without a row in common.
    Meta-training picks tasks at random; in the other streams task n is the stream's task n modulo their number, so
    that as many episodes as tasks visit each once.

    Features, and the target of a regression, have mean 0 and standard deviation 1 over the meta-train rows; a feature
    that is the same in all of these is 0. Feature columns that are the same in all rows of a task, but not in all
    tasks, are also its descriptor, standardized over the meta-train tasks.

    feature_names: of x. target_mean, target_std: y · target_std + target_mean is in the table's units.
    """

    def __init__(
        self,
        name: str,
        rows: TaskRows,
        shape: TableShape,
        seeds: Seeds,
        device: torch.device,
        dtype: torch.dtype,
        test_tasks: Sequence[str] | None = None,
    ) -> None:
        """test_tasks: names of the meta-test tasks; None: drawn at random.

        Raises `UserError` where tasks or rows are too few for the shape.
        """
        division = divided(rows, shape.split, shape.fractions, seeds.run, test_tasks)
        train = division.train
        self.name, self.inputs, self.feature_names = name, InputSpec.of((rows.features.shape[1],)), rows.names
        self._shape, self._seeds, self._device, self._ways = shape, seeds, device, rows.ways
        self._fingerprint = rows.fingerprint
        self._classes = rows.classes or ()
        self._streams = streams(division.bounds, shape, rows.tasks, device)
        self._names = rows.tasks
        self._rows = division.bounds[:, -1] - division.bounds[:, 0]
        self._split_rows = {split: int(np.diff(division.bounds)[:, place].sum()) for place, split in enumerate(SPLITS)}

        features = rows.features[division.order]
        if not rows.scaled:
            features = standardized(features, train)
        self._x = _with_padding(torch.from_numpy(features)).to(device, dtype)
        if not self._x.isfinite().all():
            column = rows.names[int(self._x.isfinite().all(0).byte().argmin())]
            raise UserError(
                f"{rows.source}: column {quoted(column)} has a value far outside the range of meta-training"
            )
        target = rows.target[division.order]
        self.target_mean, self.target_std = 0.0, 1.0
        if rows.ways is None:
            self.target_mean, self.target_std = _spread(target[train], rows.source)
            target = (target[:, None] - self.target_mean) / self.target_std
        y = _with_padding(torch.from_numpy(target))
        self._y = y.to(device, dtype if rows.ways is None else torch.int64)
        finite = self._y.square().isfinite()  # the square, since that is what errors become
        if not finite.all():
            value = rows.target[division.order][int(finite.byte().argmin())]
            raise UserError(f"{rows.source}: the target {value:g} is far outside the range of meta-training")

        known = self._streams["train"].members.cpu().numpy()
        described = constant_within_tasks(rows) if rows.descriptors is None else rows.descriptors
        descriptor = standardized(described, np.isin(np.arange(len(rows.tasks)), known))
        self._descriptor = torch.from_numpy(descriptor).to(device, dtype)
        self.descriptor_size = descriptor.shape[1]
        self.known_tasks = len(known)
        self.groups = tuple(rows.tasks[task] for task in known)
        self.grouped_test = shape.split == "rows"
        self._identity = torch.full((len(rows.tasks),), -1, device=device)
        self._identity[self._streams["train"].members] = torch.arange(len(known), device=device)

    training_classes = 0

    def kind(self, stream: str) -> Regression | Classification:
        return Regression() if self._ways is None else Classification(self._ways)

    def class_names(self, stream: str) -> tuple[str, ...]:
        """See `NamesClasses`: of all streams the same."""
        return self._classes

    def task_names(self, stream: str) -> tuple[str, ...]:
        """See `NamesTasks`: of all streams the same."""
        return self._names

    def sample(self, stream: str, index: int, tasks: int, group: int | None = None) -> TaskBatch:
        """See `Dataset.sample`. x: ``[T, n, features]``; y: ``[T, n, 1]`` in standard units, or classes ``[T, n]``.

        Each meta-train task is a group. Raises `ValueError` for a group where the stream has none.
        """
        numbers = index * tasks + torch.arange(tasks, device=self._device)
        visited = self._visited(stream, numbers, group)
        support, query = self._streams[stream].draw(self._keys(stream, "rows", numbers), visited)
        return batch(
            self._examples(support),
            self._examples(query),
            numbers,
            self._identity[visited],
            self._descriptor[visited],
            source=visited,
        )

    def members(self, stream: str) -> list[int]:
        """The stream's tasks, as places in `task_names`."""
        split_of(stream)
        members: list[int] = self._streams[stream].members.tolist()
        return members

    def distinct(self, stream: str, group: int | None = None) -> int | None:
        """See `Dataset.distinct`: an end there is where every visit to a task takes all rows that it may."""
        self._check(stream, group)
        if not self._streams[stream].whole:
            return None
        return len(self._streams[stream].members) if group is None else 1

    def facts(self, stream: str, tasks: TaskBatch) -> dict[str, list[str]]:
        """See `Dataset.facts`: the task's name, and how many rows it has in all."""
        known = self._streams["train"].members[tasks.identity.clamp(min=0)]
        visited = known.where(tasks.identity >= 0, self._visited(stream, tasks.number, None)).tolist()
        return {"task": [self._names[task] for task in visited], "rows": [str(self._rows[task]) for task in visited]}

    def summary(self) -> str:
        def told(stream: str) -> str:
            shots, queries = self._shape.sizes(stream)
            if shots is None and queries is None and self._streams[stream].shared:
                return "half of a task's rows to adapt on"
            return f"{shots or 'all'}-shot · {queries or 'all'} queries"

        episode = told("test") + (f" (trained {told('train')})" if told("train") != told("test") else "")
        counts = self._split_rows if self._shape.split == "rows" else self._split_tasks()
        parts = " / ".join(f"{counts[split]:,} meta-{split}" for split in SPLITS)
        rest = f" of {len(self._names):,} tasks" if self._shape.split == "rows" else ""
        return (
            f"{self.name} · {episode}      {parts} {self._shape.split}{rest}, {self.inputs.size} features "
            f"({self.descriptor_size} of the task)"
        )

    def protocol(self) -> dict[str, Any]:
        shots, queries = self._shape.sizes("test")
        train_shots, train_queries = self._shape.sizes("train")
        kind = (
            {"kind": "regression", "target": {"mean": self.target_mean, "std": self.target_std}}
            if self._ways is None
            else {"kind": "classification", "ways": self._ways}
        )
        return {
            **{"dataset": self.name, "file": PurePath(self._shape.path).name, **kind},
            **{"shots": shots, "queries": queries, "train_shots": train_shots, "train_queries": train_queries},
            **{"split": self._shape.split, "fractions": list(self._shape.fractions), "split_seed": self._seeds.run},
            **{"tasks": self._split_tasks(), "rows": self._split_rows, "features": self.inputs.size},
            "standardized": "by mean and standard deviation of the meta-train rows",
        }

    def source(self) -> dict[str, Any]:
        """See `NamesSource`: the content of the file and how it is divided, without what is computed from both."""
        told = {name: value for name, value in self.protocol().items() if name not in ("target", "standardized")}
        return {**told, "content": self._fingerprint}

    def _split_tasks(self) -> dict[str, int]:
        return {split: len(self._streams[split].members) for split in SPLITS}

    def _visited(self, stream: str, numbers: Tensor, group: int | None) -> Tensor:
        """The tasks, int64 ``[T]``."""
        self._check(stream, group)
        if group is not None:
            return self._streams["train"].members[group].expand(len(numbers))
        members = self._streams[stream].members
        if stream != "train":
            return members[numbers % len(members)]
        place = uniform(self._keys(stream, "task", numbers), 1)[:, 0] * len(members)
        return members[place.long()]

    def _check(self, stream: str, group: int | None) -> None:
        split = split_of(stream)  # a mistyped stream is refused in the words of all datasets
        if group is None:
            return
        if split != "train" and not self.grouped_test:
            raise ValueError(f"stream {stream!r} has no groups: its tasks are not those of meta-training")
        if not 0 <= group < len(self.groups):
            raise ValueError(f"no group {group}; {self.name} has {len(self.groups)}")

    def _keys(self, stream: str, purpose: str, numbers: Tensor) -> Tensor:
        return keys(key(self._seeds.of(stream), "dataset", stream, purpose), numbers)

    def _examples(self, draw: Draw) -> AnyExamples:
        x, y = self._x[draw.rows], self._y[draw.rows]
        return Examples(x, y) if draw.mask is None else PaddedExamples(x, y, draw.mask.to(x.dtype))


def _with_padding(values: Tensor) -> Tensor:
    """The rows, and behind them, as row -1, one of zeros."""
    return torch.cat([values, torch.zeros_like(values[:1])])


def standardized(values: NDArray[np.float64], train: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Columns with mean 0 and standard deviation 1 over the ``train`` rows; those that are the same there: zeros."""
    seen = values[train]
    deviation = seen.std(0)
    # The mean of equal numbers may differ from them by rounding, and the deviation be more than 0.
    varies = (seen.min(0) != seen.max(0)) & (deviation > 0)
    return np.where(varies, (values - seen.mean(0)) / np.where(varies, deviation, 1), 0.0)


def _spread(target: NDArray[Any], source: str) -> tuple[float, float]:
    """Mean and standard deviation of the targets that are trained on."""
    mean, deviation = float(target.mean()), float(target.std())
    if target.min() == target.max() or not deviation:
        raise UserError(f"{source}: the target is {target[0]:g} in all meta-train rows; there is nothing to learn")
    return mean, deviation
