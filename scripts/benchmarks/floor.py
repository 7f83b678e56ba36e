"""The arithmetic that a meta-step cannot do without, and how fast this machine does such arithmetic."""

import statistics
import time
from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import plain_loop, with_metarun
from benchmarks.rows import Row
from benchmarks.waiting import wait

SIZE = 2048
"""Of the square matrices whose product is timed."""


def rate(dtype: torch.dtype, device: torch.device, repeats: int = 15) -> float:
    """Floating-point operations a second in a matrix product: the median."""
    left, right, out = (torch.randn(SIZE, SIZE, device=device).to(dtype) for _ in range(3))
    seconds = []
    for _ in range(repeats + 3):
        started = time.perf_counter()
        torch.mm(left, right, out=out)
        wait(device)
        seconds.append(time.perf_counter() - started)
    return 2 * SIZE**3 / statistics.median(seconds[3:])


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
