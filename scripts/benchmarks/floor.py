"""The arithmetic that a meta-step cannot do without, and how fast this machine does such arithmetic."""

import statistics
import time
from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import plain_loop, with_metarun
from benchmarks.rows import Row
from benchmarks.waiting import wait

SIZES = (128, 256, 512, 1024, 2048)
"""Sizes of the square matrices whose product is timed, smallest first."""
REPEATS = 15
WARM_UP = 3


def rate(dtype: torch.dtype, device: torch.device, seconds: float) -> float:
    """Floating-point operations per second of a matrix product: the median over `REPEATS` products.

    The size grows as long as all products of the next size should take less than ``seconds``, judging by the present
    size: a processor without instructions for ``dtype`` is a hundred times slower, and must not block the benchmark.
    """
    for size, larger in zip(SIZES, (*SIZES[1:], None), strict=True):
        median = _median_of_products(size, dtype, device)
        if larger is None or (REPEATS + WARM_UP) * median * (larger / size) ** 3 > seconds:
            return 2 * size**3 / median
    raise AssertionError("the last size always returns")


def _median_of_products(size: int, dtype: torch.dtype, device: torch.device) -> float:
    """Seconds of a product of two square matrices."""
    left, right, out = (torch.randn(size, size, device=device).to(dtype) for _ in range(3))
    taken = []
    for _ in range(REPEATS + WARM_UP):
        started = time.perf_counter()
        torch.mm(left, right, out=out)
        wait(device)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[WARM_UP:])


def operations(row: Row) -> int:
    """Floating-point operations of the loop over tasks, counted for one task: of its products and convolutions."""
    one = replace(row, tasks=1)
    step = (plain_loop if row.plain else with_metarun).looped(one, torch.device("cpu"))
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _Nowhere()  # its own breaks under autograd.grad
    with counter:
        step()
    return row.tasks * counter.get_total_flops()


class _Nowhere:
    """A tracker of modules that is in none."""

    parents = frozenset({"Global"})

    def __enter__(self) -> "_Nowhere":
        return self

    def __exit__(self, *raised: object) -> None:
        return
