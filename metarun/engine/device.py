"""Where and how a run computes, decided once at its start."""

import ctypes
import os
import platform
import re
from dataclasses import dataclass

import torch

from metarun.config.fields import choice, number
from metarun.errors import UserError

_THREADS = min(torch.get_num_threads(), os.cpu_count() or 1)
"""PyTorch's own choice, before any run of this process changed it."""


@dataclass(kw_only=True)
class DeviceSettings:
    """The keys of ``conf/device/*.yaml``; ``name`` is ``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""

    name: str
    precision: str = choice("float32", "float64")
    compile: str = choice("auto", "true", "false")
    threads: int | None = number(least=1, most=1024)

    @property
    def dtype(self) -> torch.dtype:
        return {"float32": torch.float32, "float64": torch.float64}[self.precision]

    def resolve(self) -> torch.device:
        """The device to run on. Raises `UserError` when it is not to be had."""
        if self.name == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if not re.fullmatch(r"cpu|cuda(:\d+)?", self.name):
            raise UserError(f"device.name={self.name}: choose auto, cpu, cuda or cuda:N")
        if self.name == "cpu":
            return torch.device("cpu")
        ordinal = self.name.partition(":")[2]
        if not torch.cuda.is_available():
            raise UserError(f"device.name={self.name}: PyTorch sees no CUDA device here; use device=cpu or device=auto")
        if ordinal and int(ordinal) >= torch.cuda.device_count():
            raise UserError(f"device.name={self.name}: there are {torch.cuda.device_count()} CUDA devices, from cuda:0")
        return torch.device(self.name)

    def thread_count(self) -> int:
        """Threads for arithmetic on the CPU; part of a run's identity, because sums depend on it."""
        return self.threads or _THREADS


def keep_freed_memory() -> None:
    """Let the process keep the memory it frees, for the next step to use again.

    The C library of most Linux systems hands every large block back to the kernel at once, and a step spends a third
    of its time having the same pages given to it again, zeroed. Elsewhere nothing is done.
    """
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
        libc = ctypes.CDLL(None)
        libc.mallopt(trim_threshold, -1)
        libc.mallopt(mmap_max, 0)
