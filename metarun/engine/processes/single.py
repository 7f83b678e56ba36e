"""The processes of a run: the interface, and the usual case of a single process.

Methods are named as in `torch.distributed` and Accelerate.
"""

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
    """A single process; several are a `metarun.engine.processes.group.ProcessGroup`.

    Collective methods must be called by all processes, in the same order.
    """

    rank = 0
    count = 1
    launcher = ""
    """Command-line prefix of ``metarun`` that starts as many processes."""

    @property
    def is_main_process(self) -> bool:
        """Whether this is the process of rank 0, which writes files, logs and shows progress."""
        return self.rank == 0

    def device(self, found: torch.device) -> torch.device:
        """The device of this process, given that of the settings. Raises `UserError` if there is none."""
        return found

    def most_threads(self, settings: "DeviceSettings") -> int:
        """Number of CPU threads that each process may use."""
        return settings.most_threads()

    def count_on(self, device: torch.device) -> int:
        """Number of processes, including this one, that use the memory of ``device``."""
        return 1

    def local_slice(self, tasks: int) -> slice:
        """The tasks of this process, of ``tasks`` tasks; sizes differ by at most 1, and rank 0 has the most."""
        before, until = (-(-tasks * rank // self.count) for rank in (self.rank, self.rank + 1))
        return slice(before, until)

    def sample(self, dataset: Sampler, stream: str, index: int, tasks: int, group: int | None) -> TaskBatch:
        """This process's tasks of ``dataset.sample(stream, index, tasks, group)``."""
        each, over = divmod(tasks, self.count)
        if not over:
            return dataset.sample(stream, index * self.count + self.rank, each, group)
        return part(dataset.sample(stream, index, tasks, group), self.local_slice(tasks))

    def local_items(self, items: Sequence[T]) -> list[T]:
        """Every ``count``-th item, as many for each process: where none is left, the last one is repeated."""
        turns = -(-len(items) // self.count)
        return [items[min(turn * self.count + self.rank, len(items) - 1)] for turn in range(turns)]

    def all_gather(self, parts: list[T], count: int) -> list[T]:
        """The results of all processes for their `local_items` of ``count`` items, in the order of the items.

        A part is a tree of tensors with as many rows each; parts may differ in rows.
        """
        return parts

    def all_reduce(self, tree: T, weight: float, asked: bool) -> T:
        """The sum over processes of ``weight * tree``; also distributes whether any process is ``asked`` to stop."""
        return tree

    def should_stop(self, asked: bool) -> bool:
        """Whether to stop now, equal for all processes: whether any was asked to at the last `all_reduce`."""
        return asked

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is true in any process."""
        return flag

    def broadcast(self, tree: Any) -> None:
        """Overwrite the tensors of ``tree`` with those of the main process."""

    def broadcast_text(self, text: str) -> str:
        """The text of the main process."""
        return text

    def barrier(self) -> None:
        """Wait for all processes; raises `Lost` if one has failed."""

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Context that the main process runs before the others, which then find its files (a cache, a download)."""
        yield


SINGLE_PROCESS = Processes()


def part(batch: TaskBatch, of: slice) -> TaskBatch:
    """A slice of a batch of tasks."""
    tasks: TaskBatch = tree_map(lambda tensor: tensor[of], batch)
    return tasks
