"""Memory and time of a meta-update against the number of inner steps, with and without recomputation.

    scripts/benchmark_memory.py [--steps 1,5,10,20] [OVERRIDE …]

Each figure is of a process of its own, one thread: three meta-updates, the most memory that the process held beyond
what it held before the first, and the time of the last. Also prints how far the two gradients are apart, relative to
the norm. The floor of memory is that of one inner step.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

TASK = ["dataset=glyphs", "dataset.shots=5", "engine.meta_batch_size=4", "device.name=cpu", "device.threads=1"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="of metarun, behind those of this benchmark")
    parser.add_argument("--steps", default="1,5,10,20", help="numbers of inner steps, with commas between")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measured([*TASK, *given.overrides])))
        return
    print("| inner steps | MiB | MiB, recomputed | s | s, recomputed | gradients differ by |")
    print("| --- | --- | --- | --- | --- | --- |")
    for steps in given.steps.split(","):
        kept, again = (
            measure([*given.overrides, f"algorithm.inner_steps={steps}", f"algorithm.recompute={recompute}"])
            for recompute in ("false", "true")
        )
        pairs = list(zip(kept["gradient"], again["gradient"], strict=True))
        apart = sum((one - other) ** 2 for one, other in pairs) ** 0.5 / sum(one**2 for one, _ in pairs) ** 0.5
        cells = [steps, f"{kept['mib']:,.0f}", f"{again['mib']:,.0f}", f"{kept['s']:.2f}", f"{again['s']:.2f}"]
        print("| " + " | ".join([*cells, f"{apart:.1e}"]) + " |", flush=True)


def measure(overrides: list[str]) -> dict[str, Any]:
    """One row's half, in a process of its own."""
    command = [sys.executable, __file__, "--measure", *overrides]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr.strip().splitlines()[-1])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(overrides: list[str]) -> dict[str, Any]:
    """Peak memory beyond the start's, seconds of the last of three meta-updates, and the gradient of φ."""
    from metarun.config.compose import compose, plain
    from metarun.engine.device import keep_freed_memory
    from metarun.engine.meta_gradient import MetaGradient
    from metarun.setup.assemble import compose as assemble
    from metarun.setup.check import check

    config = compose(overrides)
    settings = check(plain(config, config.hydra.runtime.choices))
    keep_freed_memory()
    torch.set_num_threads(settings.device.most_threads())
    device = settings.device.resolve()
    dataset = settings.load_dataset(device)
    learner, phi = assemble(settings, dataset, device)
    meta_gradient = MetaGradient(learner, None, compiled=False)
    batch = dataset.sample("train", 0, settings.engine.meta_batch_size)
    before = peak()
    for _ in range(3):
        started = time.perf_counter()
        gradient, _ = meta_gradient(phi, batch)
        seconds = time.perf_counter() - started
    flat = torch.cat([tensor.flatten() for tensor in tree_leaves(gradient)])
    return {"mib": peak() - before, "s": seconds, "gradient": flat[::97].tolist()}


def peak() -> float:
    """The most memory this process has held, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
