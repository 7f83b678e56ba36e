"""The most memory that a computation takes beyond what its process held before."""

import ctypes
import platform
import resource
from collections.abc import Callable
from pathlib import Path

import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def taken(step: Callable[[], object], device: torch.device) -> float:
    """MiB, on a CUDA device those that PyTorch allocates there.

    Linux can forget a process's peak: its first step, with all that compiling took, then does not count. Elsewhere this
    is how far the step raises the peak of the process.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    try:
        RESET.write_text("5")
        peak, held = (lambda: _status("VmHWM")), _status("VmRSS")
    except OSError:
        peak, held = _peak, _peak()
    step()
    return (peak() - held) / 1024


def _status(name: str) -> int:
    """A figure of the process, KiB."""
    lines = dict(line.split(":", 1) for line in STATUS.read_text(encoding="utf-8").splitlines())
    return int(lines[name].split()[0])


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
