"""The datasets behind `metarun.datasets.user`: what a user's class gives, checked, stacked and padded."""

import dataclasses
import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from metarun.core.arrays import floating
from metarun.core.counters import key, keys, uniform
from metarun.core.errors import UserError
from metarun.core.inputs import Input, InputSpec, one_of
from metarun.core.kinds import KINDS, TaskKind
from metarun.core.labeled import examples
from metarun.core.tasks import SPLITS, AnyExamples, Examples, PaddedExamples, TaskBatch, batch
from metarun.datasets.base import STREAMS, Seeds, split_of


class UserClass(Protocol):
    """What is asked of a user's class; `metarun.datasets.user` says what each means."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> TaskKind: ...
    @property
    def input_shape(self) -> tuple[int, ...] | Mapping[str, tuple[int, ...] | Input]: ...
    @property
    def descriptor_size(self) -> int: ...


class UserTasks(UserClass, Protocol):
    @property
    def largest(self) -> tuple[int, int] | None: ...

    def task(self, split: str, generator: np.random.Generator) -> Sequence[Any]: ...


class UserTaskList(UserClass, Protocol):
    def tasks(self, split: str) -> Sequence[Sequence[Any]]: ...


log = logging.getLogger(__name__)


class Given(NamedTuple):
    """One task as a user's class gave it, checked. descriptor: ``[descriptor_size]``; source: as in `Task`."""

    support: Examples
    query: Examples
    descriptor: Tensor
    source: Tensor


Sizes = tuple[int, int]
"""Support and query examples of a task."""


class UserDataset(ABC):
    """A dataset of tasks that a user's class gives one by one."""

    groups: tuple[str, ...] = ()
    grouped_test = False
    training_classes = 0
    known_tasks = 0

    def __init__(self, user: UserTasks | UserTaskList, seeds: Seeds, device: torch.device, dtype: torch.dtype) -> None:
        _refuse_unfit(user)
        self.name, self.inputs, self.descriptor_size = user.name, InputSpec.of(user.input_shape), user.descriptor_size
        self._kind, self._user, self._seeds, self._device, self._dtype = user.kind, user, seeds, device, dtype

    def kind(self, stream: str) -> TaskKind:
        return self._kind

    def sample(self, stream: str, index: int, tasks: int, group: int | None = None) -> TaskBatch:
        """See `Dataset.sample`."""
        if group is not None:
            raise ValueError(f"no group {group}; {self.name} has none")
        split_of(stream)
        numbers = index * tasks + torch.arange(tasks)
        identities = self._identities(stream, numbers)
        given = [
            self._given(stream, number, identity)
            for number, identity in zip(numbers.tolist(), identities.tolist(), strict=True)
        ]
        sizes, padded = self._sizes(stream)
        known = identities if split_of(stream) == "train" else torch.full_like(identities, -1)
        return batch(
            _stacked([each.support for each in given], sizes[0], padded),
            _stacked([each.query for each in given], sizes[1], padded),
            numbers.to(self._device),
            known.to(self._device),
            torch.stack([each.descriptor for each in given]),
            source=torch.stack([each.source for each in given]).maximum(identities).to(self._device),
        )

    def facts(self, stream: str, tasks: TaskBatch) -> dict[str, list[str]]:
        """See `Dataset.facts`: nothing is known."""
        return {}

    def protocol(self) -> dict[str, Any]:
        """See `Dataset.protocol`: the class's keys."""
        return {"dataset": self.name, **dataclasses.asdict(self._user)}  # type: ignore[call-overload]

    def summary(self) -> str:
        (support, query), padded = self._sizes("test")
        most = "up to " if padded else ""
        return f"{self.name} · {most}{support} support and {most}{query} query examples      {self._remark()}"

    @abstractmethod
    def distinct(self, stream: str, group: int | None = None) -> int | None:
        """See `Dataset.distinct`."""

    @abstractmethod
    def _identities(self, stream: str, numbers: Tensor) -> Tensor:
        """Which of the stream's tasks those of these ``numbers`` ``[T]`` are; -1: none."""

    @abstractmethod
    def _given(self, stream: str, number: int, identity: int) -> Given:
        """One task."""

    @abstractmethod
    def _sizes(self, stream: str) -> tuple[Sizes, bool]:
        """The sizes of the stream's tasks, and whether smaller ones are padded to it."""

    @abstractmethod
    def _remark(self) -> str:
        """How many tasks there are, for `summary`."""

    def _checked(self, values: Any, told: str) -> Given:
        """One task, as the method that ``told`` names gave it. Raises `UserError`."""
        parts = ["support_x", "support_y", "query_x", "query_y", *(["descriptor"] if self.descriptor_size else [])]
        repeats = getattr(self._user, "repeats", False)
        parts += ["number of the task"] * repeats
        if not isinstance(values, Sequence) or len(values) != len(parts):
            got = f"{len(values)} values" if isinstance(values, Sequence) else f"a {type(values).__name__}"
            raise UserError(f"{told} gave {got}, where {len(parts)} are expected: {', '.join(parts)}")
        place = (self._dtype, self._device)
        names = [f"{told}: {part}" for part in parts]
        support, query = (
            examples(values[at], values[at + 1], (names[at], names[at + 1]), self.inputs, self._kind, *place)
            for at in (0, 2)
        )
        descriptor = one_of(support.x).new_zeros(0)
        if self.descriptor_size:
            descriptor = floating([values[4]], names[4], (self.descriptor_size,), *place)[0]
        source = values[-1] if repeats else -1
        if repeats and (not isinstance(source, int | np.integer) or isinstance(source, bool) or source < 0):
            raise UserError(f"{names[-1]}: {source!r}, where an integer of at least 0 is expected")
        return Given(support, query, descriptor, torch.tensor(int(source)))


class DrawnTasks(UserDataset):
    """Fresh tasks at every visit, by `metarun.datasets.user.UserTasks`."""

    _user: UserTasks

    def __init__(self, user: UserTasks, seeds: Seeds, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(user, seeds, device, dtype)
        largest = user.largest
        if largest is not None and (len(largest) != 2 or not all(type(size) is int and size > 0 for size in largest)):
            raise UserError(f"{self.name}.largest = {largest}: give the most support and the most query examples")
        self._usual = {stream: _sizes(self._given(stream, 0, -1, sized=False)) for stream in STREAMS}
        self._refuse_chance()

    def distinct(self, stream: str, group: int | None = None) -> None:
        return

    def _identities(self, stream: str, numbers: Tensor) -> Tensor:
        return torch.full_like(numbers, -1)

    def _given(self, stream: str, number: int, identity: int, *, sized: bool = True) -> Given:
        told = f"{self.name}.task({split_of(stream)!r}) of task {number}"
        generator = np.random.default_rng([key(self._seeds.of(stream), "dataset", stream), number])
        given = self._checked(self._user.task(split_of(stream), generator), told)
        if sized:
            self._refuse_size(told, _sizes(given), *self._sizes(stream))
        return given

    def _sizes(self, stream: str) -> tuple[Sizes, bool]:
        largest = self._user.largest
        return (self._usual[stream], False) if largest is None else (largest, True)

    def _remark(self) -> str:
        return "fresh tasks at every visit"

    def _refuse_size(self, told: str, sizes: Sizes, expected: Sizes, padded: bool) -> None:
        if padded and any(size > most for size, most in zip(sizes, expected, strict=True)):
            raise UserError(f"{told} gave {sizes} support and query examples, more than {self.name}.largest {expected}")
        if not padded and sizes != expected:
            raise UserError(
                f"{told} gave {sizes} support and query examples, and the first task {expected}; where tasks differ in "
                f"size, {self.name} needs the attribute largest = (most support examples, most query examples)"
            )

    def _refuse_chance(self) -> None:
        """Refuse a class whose tasks come from elsewhere than the generator: no run of it could be resumed."""
        first, repeated = (tree_leaves(self._given("train", 0, -1)) for _ in range(2))
        if not all(map(torch.equal, first, repeated)):
            raise UserError(
                f"{self.name}.task('train') returned a different task when called again for the same one; draw all "
                "random numbers from its generator"
            )


class ListedTasks(UserDataset):
    """Tasks that are there, by `metarun.datasets.user.UserTaskList`."""

    def __init__(self, user: UserTaskList, seeds: Seeds, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(user, seeds, device, dtype)
        self._tasks = {split: self._listed(user, split) for split in SPLITS}
        _warn_of_equal_tasks(self.name, self._tasks)
        self.known_tasks = len(self._tasks["train"])
        sizes = [_sizes(each) for tasks in self._tasks.values() for each in tasks]
        self._most = (max(size[0] for size in sizes), max(size[1] for size in sizes))
        self._uneven = len(set(sizes)) > 1

    def distinct(self, stream: str, group: int | None = None) -> int | None:
        """See `Dataset.distinct`: meta-training draws its tasks at random, the other streams go through theirs."""
        return None if stream == "train" else len(self._tasks[split_of(stream)])

    def _listed(self, user: UserTaskList, split: str) -> list[Given]:
        told = f"{self.name}.tasks({split!r})"
        values = user.tasks(split)
        if not isinstance(values, Sequence):
            raise UserError(f"{told} gave a {type(values).__name__}, where a list of tasks is expected")
        if not values:
            raise UserError(f"{told} gave no tasks; each split needs at least one")
        return [self._checked(each, f"{told}[{place}]") for place, each in enumerate(values)]

    def _identities(self, stream: str, numbers: Tensor) -> Tensor:
        count = len(self._tasks[split_of(stream)])
        if stream != "train":
            return numbers % count
        return (uniform(keys(key(self._seeds.of(stream), "dataset", stream), numbers), 1).squeeze(-1) * count).long()

    def _given(self, stream: str, number: int, identity: int) -> Given:
        return self._tasks[split_of(stream)][identity]

    def _sizes(self, stream: str) -> tuple[Sizes, bool]:
        return self._most, self._uneven

    def _remark(self) -> str:
        return " / ".join(f"{len(self._tasks[split]):,} meta-{split}" for split in SPLITS) + " tasks"


def _warn_of_equal_tasks(name: str, tasks: Mapping[str, Sequence[Given]]) -> None:
    """Say how many tasks are in two splits: a figure of those is not one of unseen tasks."""
    there = {split: {_digest(each) for each in tasks[split]} for split in SPLITS}
    shared = {(one, other): len(there[one] & there[other]) for one, other in combinations(SPLITS, 2)}
    told = [f"{count:,} in both {one} and {other}" for (one, other), count in shared.items() if count]
    if told:
        log.warning(
            f"{name}.tasks: splits share equal tasks ({', '.join(told)}); these are not unseen when they are measured"
        )


def _digest(given: Given) -> bytes:
    """The same for tasks of equal examples in the same order."""
    content = hashlib.blake2b(digest_size=16)
    for tensor in tree_leaves(given):
        content.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
        content.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return content.digest()


def _refuse_unfit(user: UserTasks | UserTaskList) -> None:
    """Refuse a class whose attributes are not what its base asks for. Raises `UserError`."""
    name = user.name
    for attribute in ("kind", "input_shape"):
        if not hasattr(type(user), attribute):
            raise UserError(f"{name} has no attribute '{attribute}', which says what its tasks are")
    kind: Any = user.kind
    if not isinstance(kind, TaskKind) or KINDS.get(kind.name) is not type(kind) or kind.predicts_variance:
        raise UserError(
            f"{name}.kind = {kind!r}: give Classification(ways), Regression(), or a kind of yours that is "
            "registered in metarun.core.kinds.KINDS"
        )
    shape = user.input_shape
    shapes = list(shape.values()) if isinstance(shape, Mapping) else [shape]
    if not shapes or not all(_is_shape(each.shape if isinstance(each, Input) else each) for each in shapes):
        raise UserError(
            f"{name}.input_shape = {shape!r}: give the shape of one input, as in (1, 28, 28), or of its parts by name"
        )
    if isinstance(shape, Mapping) and not all(isinstance(part, str) and part.isidentifier() for part in shape):
        raise UserError(f"{name}.input_shape = {shape!r}: names of inputs are words without spaces, as in 'image'")
    if type(user.descriptor_size) is not int or user.descriptor_size < 0:
        raise UserError(f"{name}.descriptor_size = {user.descriptor_size!r}: give a number of features, 0 for none")


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, tuple | list) and all(type(size) is int and size > 0 for size in shape)


def _sizes(given: Given) -> Sizes:
    return len(given.support.y), len(given.query.y)


def _stacked(of: list[Examples], size: int, padded: bool) -> AnyExamples:
    """The examples of several tasks, filled up to ``size`` rows where they are ``padded``."""
    filled = [tree_map(partial(_filled, size=size), each) for each in of] if padded else of
    stacked: Examples = tree_map(lambda *tensors: torch.stack(tensors), *filled)
    if not padded:
        return stacked
    mask = torch.stack([_filled(one_of(each.x).new_ones(len(each.y)), size) for each in of])
    return PaddedExamples(*stacked, mask)


def _filled(tensor: Tensor, size: int) -> Tensor:
    return torch.cat((tensor, tensor.new_zeros(size - len(tensor), *tensor.shape[1:])))
