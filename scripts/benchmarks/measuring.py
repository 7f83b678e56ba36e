"""The processes that measure: one for each figure, kept waiting so that their turns alternate."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import BF16, EXACT, REFERENCE, Row

SLOW = 5.0
"""Seconds of a step from which one round must do."""
AT_ONCE = max(2, (os.cpu_count() or 1) // 2)
"""How many get ready at a time: compiling is mostly one thread's work. They are timed one at a time."""
BF16_AGREEMENT = 0.7
"""How far a meta-gradient may be from exact, relative to the norm, with a task model in bfloat16: of single batches 0.4
was measured, so that this finds gross errors alone."""
ROOM = 2.0
"""How many times as far from exact as the reference in float32, where that is more than the row's agreement."""
SANE = 1e-2
"""How far the reference may be."""
FLOOR_TURNS = 10
"""How many turns of a variant the products of one precision may take."""


@dataclass(frozen=True)
class How:
    """How to measure.

    device: ``cpu`` or ``cuda``. threads: of the CPU. repeats: rounds. seconds: of a variant's turn in a round.
    patience: seconds that a variant may take to get ready, compiling included, before it is given up.
    """

    device: str
    threads: int
    repeats: int
    seconds: float
    patience: float = 600.0


@dataclass
class Found:
    """What was found of a variant. seconds: of each step that counts. first: of the very first step, which compiles.

    mib: the most memory that a step takes. difference: of the meta-gradient from the exact one, relative to the norm.
    fault: why it was not timed.
    """

    first: float | None = None
    mib: float | None = None
    difference: float | None = None
    seconds: list[float] = field(default_factory=list)
    fault: str | None = None


class Fault(Exception):
    """Why a process gave no answer."""


class Worker:
    """One process, see `benchmarks.worker`."""

    def __init__(self, asked: dict[str, Any]) -> None:
        scripts = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join((scripts, os.environ.get("PYTHONPATH", ""))).rstrip(os.pathsep)
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", json.dumps(asked)], env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
        )  # fmt: skip

    def answer(self, patience: float | None = None) -> Any:
        """Its next answer. Raises `Fault` when it ends without, or takes longer than ``patience`` seconds."""
        alarm = threading.Timer(patience or 0, self.process.kill)
        if patience is not None:
            alarm.start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        late = patience is not None and alarm.finished.is_set()
        alarm.cancel()
        if line:
            return json.loads(line)
        if late:
            raise Fault(f"not ready after {patience:.0f} s")
        self.errors.seek(0)
        lines = self.errors.read().strip().splitlines()
        raise Fault(lines[-1] if lines else "ended without a word")

    def turn(self) -> list[float]:
        """Seconds of some steps."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        seconds: list[float] = self.answer()
        return seconds

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()


@contextmanager
def started(asked: dict[str, Any]) -> Iterator[Worker]:
    worker = Worker(asked)
    try:
        yield worker
    finally:
        worker.end()


def floor(names: list[str], how: How) -> dict[str, Any]:
    """Rates of matrix products, ``float32`` and ``bfloat16``, and the ``operations`` of these rows."""
    asked = {"floor": names, "device": how.device, "threads": how.threads, "seconds": FLOOR_TURNS * how.seconds}
    with started(asked) as worker:
        found: dict[str, Any] = worker.answer()
    return found


def measured(row: Row, variants: list[str], how: How) -> dict[str, Found]:
    """Each variant of a row, the reference among them: compared with the exact meta-gradient, then timed in turns."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as running:
        files = {variant: Path(place) / f"{variant}.npz" for variant in (EXACT, *variants)}

        def ready(variant: str) -> tuple[Worker, Found]:
            asked = {"row": row.name, "variant": variant, "gradient": str(files[variant]), "device": how.device}
            asked |= {"threads": row.threads or how.threads, "seconds": how.seconds}
            worker = running.enter_context(started(asked))
            try:
                return worker, Found(**worker.answer(how.patience))
            except Fault as fault:
                return worker, Found(fault=str(fault))

        with ThreadPoolExecutor(AT_ONCE) as pool:
            workers = dict(zip(files, pool.map(ready, files), strict=True))
        exact, wanted = workers.pop(EXACT)
        exact.end()
        found = {variant: of for variant, (_, of) in workers.items()}
        _compare(row, wanted, found, files)
        for turn in range(how.repeats):
            for worker, of in workers.values():
                if of.fault is None and (turn == 0 or min(of.seconds) < SLOW):
                    try:
                        of.seconds += worker.turn()
                    except Fault as fault:
                        of.fault = str(fault)
    return found


def _compare(row: Row, wanted: Found, found: dict[str, Found], files: dict[str, Path]) -> None:
    """Tell how far each is from the exact meta-gradient, and find fault with those that are too far."""
    if wanted.fault is not None:
        for of in found.values():
            of.fault = of.fault or f"{EXACT}, with which to compare, failed: {wanted.fault}"
        return
    exact = _gradient(files[EXACT])
    for variant, of in found.items():
        if of.fault is not None:
            continue
        gradient = _gradient(files[variant])
        if gradient.keys() != exact.keys():
            of.fault = "its meta-gradient has other parameters"
            continue
        apart = sum(float(((gradient[name] - exact[name]) ** 2).sum()) for name in exact)
        of.difference = (apart / sum(float((tensor**2).sum()) for tensor in exact.values())) ** 0.5
    usual = found[REFERENCE].difference
    for variant, of in found.items():
        if of.difference is None:
            continue
        if variant == REFERENCE:
            allowed = SANE
        elif variant == BF16:
            allowed = BF16_AGREEMENT
        else:
            allowed = max(row.agreement, ROOM * min(usual, SANE) if usual is not None else 0)
        if not of.difference <= allowed:
            of.fault = f"its meta-gradient differs by {of.difference:.1e} of the norm"


def _gradient(file: Path) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name].astype(np.float64) for name in arrays}
