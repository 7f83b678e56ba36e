"""A profile of a few meta-updates: a trace, and the most expensive operations."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from metarun.core.files import write_text
from metarun.engine.settings import SKIPPED

log = logging.getLogger(__name__)

ROWS, TOLD = 25, 8
"""Operations in the file, and in the log."""
FOLDER = "profile"


@contextmanager
def profiling(steps: int, folder: Path, tell: Callable[[str, str], None]) -> Iterator[Callable[[], None]]:
    """Profile ``steps`` of the meta-updates to come; what it gives is to be called after each. With 0 nothing is done.

    Leaves in the run's folder ``profile/trace.json``, for chrome://tracing or ui.perfetto.dev, and
    ``profile/operations.txt``, and calls ``tell`` with a short table of the operations and with that file's text.
    """
    if not steps:
        yield lambda: None
        return
    on_cuda = torch.cuda.is_available()

    def leave(found: profile) -> None:
        place = folder / FOLDER
        place.mkdir(exist_ok=True)
        found.export_chrome_trace(str(place / "trace.json"))
        by = "self_device_time_total" if on_cuda else "self_cpu_time_total"
        averages = found.key_averages()
        table = averages.table(sort_by=by, row_limit=ROWS, max_name_column_width=50)
        write_text(place / "operations.txt", table)
        times = sorted(((getattr(each, by), each.count, _named(each.key)) for each in averages), reverse=True)
        tell(shortly(times, steps), table)

    with profile(
        activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])],
        schedule=schedule(wait=SKIPPED - 1, warmup=1, active=steps, repeat=1),
        on_trace_ready=leave,
        profile_memory=True,
    ) as profiler:
        yield profiler.step
    if not (folder / FOLDER).exists():
        log.info("nothing profiled: fewer than %d meta-updates were left", SKIPPED + steps)


def shortly(times: list[tuple[float, int, str]], steps: int) -> str:
    """The operations that take most of ``steps`` meta-updates, a line each; ``times``: microseconds, calls, name."""
    total = sum(time for time, _, _ in times) or 1.0
    lines = [f"of a meta-update's {total / 1e3 / steps:.1f} ms"]
    for time, calls, name in times[:TOLD]:
        lines.append(f"{time / total:7.1%} {time / 1e3 / steps:9.2f} ms  {calls / steps:6.0f} x  {name}")
    return "\n".join(lines)


def _named(key: str) -> str:
    return "Python, between the operations" if key.startswith("ProfilerStep") else key
