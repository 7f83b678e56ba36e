"""What a run asks of the processes that share it. `Processes` itself is one alone, which shares with nobody."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch.utils._pytree import tree_map

from metarun.core.tasks import TaskBatch
from metarun.datasets.base import Sampler

if TYPE_CHECKING:
    from metarun.engine.device import DeviceSettings

T = TypeVar("T")


class Processes:
    """One process. What several do together is in `metarun.engine.processes.group`.

    Where a method exchanges something, all processes must call it, in the same order.
    """

    rank = 0
    count = 1
    launcher = ""
    """What stands before ``metarun`` in a command line, to start as many processes again."""

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, logs and shows progress."""
        return self.rank == 0

    def device(self, found: torch.device) -> torch.device:
        """The device of this process, where ``found`` is that of the settings. Raises `UserError` if it has none."""
        return found

    def most_threads(self, settings: "DeviceSettings") -> int:
        """Threads for arithmetic on the CPU that each process may take."""
        return settings.most_threads()

    def beside(self, device: torch.device) -> int:
        """How many processes, this one among them, share the memory of its device."""
        return 1

    def share(self, tasks: int) -> slice:
        """Which of so many tasks are this process's; none has more than the first, nor fewer by more than one."""
        before, until = (-(-tasks * rank // self.count) for rank in (self.rank, self.rank + 1))
        return slice(before, until)

    def sample(self, dataset: Sampler, stream: str, index: int, tasks: int, group: int | None) -> TaskBatch:
        """This process's share of ``dataset.sample(stream, index, tasks, group)``."""
        each, over = divmod(tasks, self.count)
        if not over:
            return dataset.sample(stream, index * self.count + self.rank, each, group)
        return part(dataset.sample(stream, index, tasks, group), self.share(tasks))

    def own(self, items: Sequence[T]) -> list[T]:
        """Every ``count``-th item, as many for each process: the last again where none is left, rather than wait."""
        turns = -(-len(items) // self.count)
        return [items[min(turn * self.count + self.rank, len(items) - 1)] for turn in range(turns)]

    def gathered(self, parts: list[T], count: int) -> list[T]:
        """What all processes made of their `own` of ``count`` items, in the order of the items.

        A part is a tree of tensors with as many rows each; parts may differ in rows.
        """
        return parts

    def summed(self, tree: T, weight: float, asked: bool) -> T:
        """The sum over processes of ``weight`` times their trees of tensors; and remember whether any is ``asked``."""
        return tree

    def stopping(self, asked: bool) -> bool:
        """Whether to stop now, the same for all: whether any had been asked to at the latest `summed`."""
        return asked

    def any(self, flag: bool) -> bool:
        """Whether it holds for any process."""
        return flag

    def follow(self, tree: Any) -> None:
        """Overwrite the tensors of a tree by those of the first process."""

    def told(self, text: str) -> str:
        """The first process's text."""
        return text

    def wait(self) -> None:
        """Until all are here, and well."""

    @contextmanager
    def first_ahead(self) -> Iterator[None]:
        """Within, the first process goes before the others, which then find what it left (a cache, a download)."""
        yield


ALONE = Processes()


def part(batch: TaskBatch, of: slice) -> TaskBatch:
    """Some of a batch's tasks."""
    tasks: TaskBatch = tree_map(lambda tensor: tensor[of], batch)
    return tasks
