"""Device, precision and threads of a run, decided once at its start."""

import ctypes
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from metarun.core.errors import UserError
from metarun.core.fields import choice, number

_THREADS = min(torch.get_num_threads(), os.cpu_count() or 1)
"""PyTorch's own choice, before any run of this process changed it."""


@dataclass(kw_only=True)
class DeviceSettings:
    """The keys of ``conf/device/*.yaml``; ``name`` is ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    cuda_graphs: whether steps and evaluations are recorded once and then replayed, on CUDA; ``auto``: wherever they
    can be.
    precision: ``tf32`` and ``bf16`` are for matrix products and convolutions: TensorFloat-32 on CUDA, and bfloat16 in
    the task model; φ, the inner steps and the losses are in float32 with either.
    threads: for arithmetic on the CPU; ``auto``, or ``null``: as many as there are cores for this process, but one
    where single operations are too small to be shared (`metarun.engine.planning.Planner.threads`).
    """

    name: str
    precision: str = choice("float32", "tf32", "bf16", "float64")
    compile: str = choice("auto", "true", "false")
    cuda_graphs: str = choice("auto", "true", "false")
    threads: int | str | None = number(least=1, most=1024, literals=("auto",))
    deterministic: bool

    @property
    def dtype(self) -> torch.dtype:
        """The precision of φ and of all data."""
        return torch.float64 if self.precision == "float64" else torch.float32

    @property
    def compute(self) -> torch.dtype | None:
        """What the task model computes in, where that is another."""
        return torch.bfloat16 if self.precision == "bf16" else None

    def resolve(self) -> torch.device:
        """The device to run on. Raises `UserError` when it is not to be had."""
        device = self._found()
        if self.precision == "tf32" and device.type != "cuda":
            raise UserError(
                f"device.precision=tf32: TensorFloat-32 is a format of CUDA devices, and this run is on {device}; use "
                "device.precision=float32 or bf16"
            )
        if self.cuda_graphs == "true" and device.type != "cuda":
            raise UserError(
                f"device.cuda_graphs=true: only steps on CUDA are recorded, and this run is on {device}; use "
                "device.cuda_graphs=auto"
            )
        return device

    def records(self, device: torch.device) -> bool:
        """Whether computations are to be recorded as CUDA graphs."""
        return device.type == "cuda" and self.cuda_graphs != "false"

    def advice(self, device: torch.device) -> str | None:
        """A line for the user about settings that work but are a bad choice here; ``None``: they are fine."""
        if self.precision == "bf16" and device.type == "cpu" and not _has_bfloat16():
            return (
                "device.precision=bf16: this processor has no instructions for bfloat16 and computes it up to a "
                "hundred times slower than float32; use device.precision=float32"
            )
        return None

    def _found(self) -> torch.device:
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

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """PyTorch's switches as these settings want them, for a run; afterwards as they were.

        Raises `UserError` for an operation that ``deterministic`` forbids.
        """
        before = (
            torch.get_float32_matmul_precision(),
            torch.backends.cudnn.allow_tf32,
            torch.are_deterministic_algorithms_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        )
        fast = self.precision == "tf32"
        _switch("high" if fast else "highest", fast, self.deterministic, False)
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or cuBLAS may choose another sum each time
        try:
            yield
        except RuntimeError as error:
            if self.deterministic and "deterministic" in str(error):
                told = str(error).partition(".")[0]
                raise UserError(f"device.deterministic=true: {told}; use device.deterministic=false") from error
            raise
        finally:
            _switch(*before)

    @property
    def given_threads(self) -> int | None:
        """The number of threads that was given; ``None`` where metarun chooses."""
        return self.threads if isinstance(self.threads, int) else None

    def most_threads(self, jobs: int = 1) -> int:
        """Number of threads for each of ``jobs`` processes on this machine: as set, or the cores divided by them."""
        if self.given_threads is not None:
            return self.given_threads
        return _THREADS if jobs == 1 else max(1, _cores() // jobs)


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _has_bfloat16() -> bool:
    """Whether oneDNN computes bfloat16 products fast on this processor: from AVX-512 on."""
    supported: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return supported


def _switch(matmul: str, cudnn: bool, deterministic: bool, fill: bool) -> None:
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = cudnn
    if deterministic != torch.are_deterministic_algorithms_enabled():  # setting it imports Inductor: over a second
        torch.use_deterministic_algorithms(deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]


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
