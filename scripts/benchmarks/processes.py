"""Meta-training by one process and by two: whole runs of metarun, tasks a second as it tells them itself."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TITLES = {1: "one process, threads: {threads}", 2: "two processes, threads of each: {half}"}
RUN = [
    "dataset=glyphs", "dataset.queries=1", "dataset.train_queries=1", "model.readout=mean", "engine.transductive=true",
    "engine.meta_batch_size=32", "engine.val_episodes=8", "engine.test_episodes=8", "device.compile=false",
]  # fmt: skip
"""Conv-4 as in the row ``omniglot-1``, on letters: nothing to download. Sampling and the outer loop are included."""


def measured(counts: list[int], device: str, threads: int, repeats: int, steps: int) -> dict[int, list[float]]:
    """Tasks a second of each run, for each number of processes."""
    found: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(repeats):
        for count in counts:
            result = _run(count, device, max(1, threads // count), steps)
            found[count].append(result["train"]["tasks_per_second"])
    return found


def _run(count: int, device: str, threads: int, steps: int) -> dict[str, Any]:
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"] if count > 1 else []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        length = [f"engine.{key}={steps}" for key in ("steps", "val_every", "checkpoint_every")]
        settings = [*RUN, *length, f"device.name={device}", f"device.threads={threads}", f"hydra.run.dir={folder}"]
        done = subprocess.run(
            [sys.executable, *several, "-m", "metarun", *settings],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{count} processes: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
        result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return result
