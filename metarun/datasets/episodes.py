"""Few-shot episodes from banks of images: what all image datasets sample with."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from metarun.core.counters import choose, key, keys
from metarun.core.errors import UserError
from metarun.core.inputs import InputSpec
from metarun.core.kinds import Classification
from metarun.core.tasks import SPLITS, Examples, TaskBatch, batch
from metarun.datasets.bank import Bank
from metarun.datasets.base import EpisodeShape, Seeds, split_of


class EpisodicDataset:
    """N-way K-shot episodes (Vinyals et al. 2016): ``ways`` classes of a split, ``shots`` + ``queries`` images of each.

    The classes of a task come in random order and are labeled 0, 1, … in that order, so a class has another label in
    another task. Within support and query, examples go round the labels (0, 1, …, ways-1, 0, 1, …): every run of
    ``ways`` examples holds one of each. Images are ``[C, H, W]`` in [0, 1].

    Groups are of meta-train classes, such as alphabets: a task of a group takes all its classes from it. The classes of
    meta-val and meta-test fall into none. Groups too small for an episode are left out.
    """

    known_tasks = 0
    descriptor_size = 0
    grouped_test = False

    def __init__(
        self,
        name: str,
        banks: Mapping[str, Bank],
        shape: EpisodeShape,
        *,
        seeds: Seeds,
        device: torch.device,
        dtype: torch.dtype,
        noun: str,
        remark: str,
        facts: Mapping[str, Any],
        group_of: Callable[[str], str] | None = None,
    ) -> None:
        """``banks``: one for each split. ``noun``, ``remark``: for `summary`, as in "letters", "no alphabet shared".
        ``facts``: the dataset's part of `protocol`. ``group_of``: the group of a class, by its name; ``None``: no
        groups. Raises `UserError` if the splits are too small for the episodes, `ValueError` if two share a class.
        """
        _refuse_leaks(banks)
        _refuse_shortage(shape, banks)
        self.name = name
        self.inputs = InputSpec.of(banks["train"].images.shape[1:])
        self.training_classes = len(banks["train"].names)
        self._banks = {split: banks[split].to(device) for split in SPLITS}
        self._shape, self._seeds, self._device, self._dtype = shape, seeds, device, dtype
        self._noun, self._remark, self._facts = noun, remark, dict(facts)
        grouped = _grouped(banks["train"].names, group_of) if group_of else {}
        most_ways = max(shape.sizes(stream).ways for stream in ("train", "test"))
        grouped = {name: classes for name, classes in grouped.items() if len(classes) >= most_ways}
        self.groups = tuple(grouped)
        self._members = [torch.tensor(classes, device=device) for classes in grouped.values()]

    def kind(self, stream: str) -> Classification:
        return Classification(self._shape.sizes(stream).ways)

    def choices(self, stream: str, numbers: Tensor, group: int | None = None) -> tuple[Tensor, Tensor]:
        """What tasks ``numbers`` ``[T]`` hold: classes ``[T, ways]`` and items ``[T, ways, shots + queries]``.

        ``classes[t, label]`` is a class of the split's bank; ``items[t, label]`` are distinct images of that class,
        the first ``shots`` of them the support. With ``group`` all classes are of that group; raises `ValueError`
        where there is no such group, or where the stream is not of meta-train classes.
        """
        bank, sizes = self.bank(stream), self._shape.sizes(stream)
        members = torch.arange(len(bank.names), device=numbers.device) if group is None else self._group(stream, group)
        seed = self._seeds.of(stream)
        classes = choose(keys(key(seed, "dataset", stream, "classes"), numbers), len(members), sizes.ways)
        classes = members[classes]
        tasks = keys(key(seed, "dataset", stream, "items"), numbers)
        labels = torch.arange(sizes.ways, device=numbers.device)
        items = choose(keys(tasks[:, None], labels), bank.count[classes], sizes.shots + sizes.queries)
        return classes, items

    def sample(self, stream: str, index: int, tasks: int, group: int | None = None) -> TaskBatch:
        """See `Dataset.sample`. x: ``[T, n, C, H, W]``, y: int64 ``[T, n]``, n = ways · shots or ways · queries."""
        numbers = index * tasks + torch.arange(tasks, device=self._device)
        classes, items = self.choices(stream, numbers, group)
        rows = (self.bank(stream).first[classes].unsqueeze(-1) + items).transpose(1, 2)
        shots = self._shape.sizes(stream).shots
        support, query = self._examples(stream, rows[:, :shots]), self._examples(stream, rows[:, shots:])
        return batch(support, query, numbers, classes=classes)

    def distinct(self, stream: str, group: int | None = None) -> None:
        """See `Dataset.distinct`: every episode is new."""
        return

    def facts(self, stream: str, tasks: TaskBatch, group: int | None = None) -> dict[str, list[str]]:
        """See `Dataset.facts`: the classes' names, in the order of their labels. ``group``: as given to `sample`."""
        names, (classes, _) = self.bank(stream).names, self.choices(stream, tasks.number, group)
        return {"classes": [", ".join(names[number] for number in row) for row in classes.tolist()]}

    def class_names(self, stream: str) -> tuple[str, ...]:
        """See `NamesClasses`."""
        return self.bank(stream).names

    def bank(self, stream: str) -> Bank:
        """The images of a stream's split, as stored."""
        return self._banks[split_of(stream)]

    def summary(self) -> str:
        ways, shots, queries = self._shape.sizes("test")
        training = self._shape.sizes("train")
        episode = f"{ways}-way {shots}-shot · {queries} queries"
        if training != (ways, shots, queries):
            episode += f" (trained {training.ways}-way {training.shots}-shot · {training.queries} queries)"
        counts = " / ".join(f"{len(self._banks[split].names):,} meta-{split}" for split in SPLITS)
        return f"{self.name} · {episode}      {counts} {self._noun}, {self._remark}"

    def protocol(self) -> dict[str, Any]:
        shapes = {
            f"{prefix}{size}": value
            for prefix, stream in (("", "test"), ("train_", "train"))
            for size, value in self._shape.sizes(stream)._asdict().items()
        }
        classes = {split: len(self._banks[split].names) for split in SPLITS}
        return {"dataset": self.name, **shapes, "classes": classes, **self._facts}

    def _group(self, stream: str, group: int) -> Tensor:
        """The classes of a group, numbers in the stream's bank."""
        if split_of(stream) != "train":
            raise ValueError(f"groups are of meta-train classes; stream {stream!r} has none")
        if not 0 <= group < len(self.groups):
            raise ValueError(f"no group {group}; {self.name} has {len(self.groups)}")
        return self._members[group]

    def _examples(self, stream: str, rows: Tensor) -> Examples:
        """The images at ``rows`` ``[T, n, ways]``, and their labels."""
        tasks, each, ways = rows.shape
        # Converting what was gathered reads a quarter of the memory that gathering floats would.
        images = self.bank(stream).images.index_select(0, rows.reshape(-1)).to(self._dtype).div_(255)
        labels = torch.arange(ways, device=rows.device).repeat(tasks, each)
        return Examples(images.view(tasks, each * ways, *images.shape[-3:]), labels)


def _grouped(names: Sequence[str], group_of: Callable[[str], str]) -> dict[str, list[int]]:
    """The places of the ``names`` under each group, in order of first appearance."""
    grouped: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        grouped.setdefault(group_of(name), []).append(place)
    return grouped


def _refuse_leaks(banks: Mapping[str, Bank]) -> None:
    """No class in two splits: a test on classes that were trained on measures memory."""
    for one, other in itertools.combinations(SPLITS, 2):
        if shared := set(banks[one].names) & set(banks[other].names):
            raise ValueError(f"class {min(shared)!r} is in meta-{one} and in meta-{other}")


def _refuse_shortage(shape: EpisodeShape, banks: Mapping[str, Bank]) -> None:
    """Refuse episodes that a split cannot fill, naming the key to change."""
    for stream, splits in (("test", SPLITS), ("train", ("train",))):
        keys_of = {
            size: f"train_{size}" if stream == "train" and getattr(shape, f"train_{size}") is not None else size
            for size in ("ways", "shots", "queries")
        }
        ways, shots, queries = shape.sizes(stream)
        split = min(splits, key=lambda split: len(banks[split].names))
        classes = len(banks[split].names)
        if ways > classes:
            key_value = f"dataset.{keys_of['ways']}={ways}"
            raise UserError(f"{key_value}: meta-{split} has {classes} classes; choose 2 to {classes}")
        split = min(splits, key=lambda split: int(banks[split].count.min()))
        items = int(banks[split].count.min())
        if shots + queries > items:
            name = banks[split].names[int(banks[split].count.argmin())]
            raise UserError(
                f"dataset.{keys_of['shots']}={shots} and dataset.{keys_of['queries']}={queries} need "
                f"{shots + queries} images of a class, but class {name!r} of meta-{split} has {items}; "
                f"choose {keys_of['shots']} + {keys_of['queries']} up to {items}"
            )
