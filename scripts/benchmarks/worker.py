"""One process of the benchmark: ``python -m benchmarks.worker JSON``.

It prepares one variant of one row and prints a line of JSON; then it times steps for each line that it is given, and
prints their seconds. Asked for the floor instead, it prints that and ends.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np
import torch

from benchmarks import floor, memory, plain_loop, rows, with_metarun
from benchmarks.waiting import wait
from metarun.engine.device import keep_freed_memory

Step = Callable[[], dict[str, Any]]

WARM_UP = 20
"""Steps before the first that counts, or fewer that take as long as a turn."""


def main() -> None:
    # Whatever libraries print must not come between the lines of JSON.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asked = json.loads(sys.argv[1])
    device = torch.device(asked["device"])
    torch.set_num_threads(asked["threads"])
    if "floor" in asked:
        tell(answers, told_floor(asked["floor"], device, asked["seconds"]))
        return
    row = rows.BY_NAME[asked["row"]]
    step = prepared(row, asked["variant"], device, asked["threads"])

    def timed() -> float:
        started = time.perf_counter()
        step()
        wait(device)
        return time.perf_counter() - started

    started = time.perf_counter()
    gradient = step()
    wait(device)
    first = time.perf_counter() - started
    np.savez(asked["gradient"], **{name: np.asarray(_on_host(tensor)) for name, tensor in gradient.items()})
    if asked["variant"] == rows.EXACT:
        tell(answers, {})
        return
    mib = memory.taken(timed, device)
    keep_freed_memory()
    spent = [timed()]  # gets all memory anew, which may take many times as long as computing
    while len(spent) < WARM_UP and sum(spent) < asked["seconds"]:
        spent.append(timed())
    tell(answers, {"first": first, "mib": mib})
    for _ in sys.stdin:
        spent = [timed()]
        while sum(spent) < asked["seconds"]:
            spent.append(timed())
        tell(answers, spent)


def told_floor(names: list[str], device: torch.device, seconds: float) -> dict[str, Any]:
    cuda = device.type == "cuda"
    return {
        "float32": floor.rate(torch.float32, device, seconds),
        "bfloat16": floor.rate(torch.bfloat16, device, seconds),
        "operations": {name: floor.operations(rows.BY_NAME[name]) for name in names},
        "gpu": torch.cuda.get_device_name(device) if cuda else None,
    }


def prepared(row: rows.Row, variant: str, device: torch.device, threads: int) -> Step:
    """The meta-step of a variant, as a function without arguments."""
    if variant == rows.LOOP:
        return (plain_loop if row.plain else with_metarun).looped(row, device)
    if variant == rows.HIGHER:
        from benchmarks import with_higher

        return with_higher.looped(row, device)
    if variant == rows.JAX:
        # JAX takes as many threads as it sees cores.
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        from benchmarks import with_jax

        return with_jax.batched(row, device)
    return with_metarun.batched(row, device, variant)


def _on_host(tensor: Any) -> Any:
    return tensor.detach().cpu() if isinstance(tensor, torch.Tensor) else tensor


def tell(answers: TextIO, content: Any) -> None:
    print(json.dumps(content), file=answers, flush=True)


if __name__ == "__main__":
    main()
