"""A job that runs at the same time as others on its machine: it gets part of the cores and memory, and a GPU."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from filelock import FileLock, Timeout

from metarun.core import account
from metarun.engine.processes.single import Processes

if TYPE_CHECKING:
    from metarun.engine.device import DeviceSettings


class ConcurrentJob(Processes):
    """The process of one of ``jobs`` concurrent jobs. Closing ``stack`` releases the GPU."""

    def __init__(self, jobs: int, stack: ExitStack) -> None:
        self._jobs, self._stack = jobs, stack

    def device(self, found: torch.device) -> torch.device:
        if found.type != "cuda" or found.index is not None or self._jobs == 1:
            return found
        names = [str(torch.cuda.get_device_properties(index).uuid) for index in range(torch.cuda.device_count())]
        index = claim_device(names, self._stack)
        torch.cuda.set_device(index)
        return torch.device("cuda", index)

    def most_threads(self, settings: "DeviceSettings") -> int:
        return settings.most_threads(self._jobs)

    def count_on(self, device: torch.device) -> int:
        """On the CPU, all jobs; on a GPU, the jobs per GPU."""
        return -(-self._jobs // torch.cuda.device_count()) if device.type == "cuda" else self._jobs


def claim_device(devices: list[str], stack: ExitStack) -> int:
    """Index of a device that no other job on this machine uses, held until ``stack`` is closed.

    If all are in use: one with the fewest jobs.
    """
    folder = Path(tempfile.gettempdir()) / f"metarun-devices-{account.number()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for layer in range(64):
        for index, device in enumerate(devices):
            lock = FileLock(folder / f"{device}-{layer}.lock", timeout=0)
            try:
                lock.acquire()
            except Timeout:
                continue
            stack.callback(lock.release)
            return index
    return 0
