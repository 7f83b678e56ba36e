"""A job among others on the same machine: its share of cores and memory, and a GPU of its own."""

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


class AmongJobs(Processes):
    """One process that runs beside others, ``jobs`` in all. Leave the ``stack`` to give the GPU back."""

    def __init__(self, jobs: int, stack: ExitStack) -> None:
        self._jobs, self._stack = jobs, stack

    def device(self, found: torch.device) -> torch.device:
        if found.type != "cuda" or found.index is not None or self._jobs == 1:
            return found
        names = [str(torch.cuda.get_device_properties(index).uuid) for index in range(torch.cuda.device_count())]
        index = claimed(names, self._stack)
        torch.cuda.set_device(index)
        return torch.device("cuda", index)

    def most_threads(self, settings: "DeviceSettings") -> int:
        return settings.most_threads(self._jobs)

    def count_on(self, device: torch.device) -> int:
        """All jobs share the machine's memory; on a GPU, as many as there are to each."""
        return -(-self._jobs // torch.cuda.device_count()) if device.type == "cuda" else self._jobs


def claimed(devices: list[str], stack: ExitStack) -> int:
    """The place in the list of a device that no other job on this machine has, held until ``stack`` is left.

    Where all are taken, the one with the fewest jobs.
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
