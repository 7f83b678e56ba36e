"""Convolutions as products of matrices against the library's: milliseconds of a recorded meta-gradient on a GPU.

    scripts/benchmark_convolutions.py

The least of three rounds of twenty meta-gradients, on letters. `metarun/models/patches.py` says why it matters.
"""

import time
from collections.abc import Callable

import torch

from metarun.config.compose import compose, plain
from metarun.engine.meta_gradient import MetaGradient
from metarun.models import conv4
from metarun.setup.assemble import compose as assemble
from metarun.setup.check import check

CUDA = torch.device("cuda")
OMNIGLOT = ("dataset.queries=1", "dataset.train_queries=1", "model.readout=mean", "model.channels=64")
ROWS = {
    "MAML, 5-way 1-shot, 32 tasks": (32, OMNIGLOT),
    "MAML, 5-way 1-shot, 256 tasks": (256, OMNIGLOT),
    "MAML, 5-way 1-shot, 3 queries a class, 4 tasks": (4, ()),
    "ProtoNet, 4 tasks": (4, ("algorithm=protonet",)),
    "ProtoNet, 32 tasks": (32, ("algorithm=protonet",)),
}
ROUNDS, STEPS = 3, 20


def main() -> None:
    if not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no CUDA device here")
    print("| | library | products | library, tf32 | products, tf32 |\n| --- | --- | --- | --- | --- |")
    for title, (tasks, overrides) in ROWS.items():
        cells = [
            f"{1e3 * seconds(tasks, overrides, precision, products):.2f}"
            for precision in ("float32", "tf32")
            for products in ((), ("cuda",))
        ]
        print(f"| {title} | {' | '.join(cells)} |", flush=True)


def seconds(tasks: int, overrides: tuple[str, ...], precision: str, products: tuple[str, ...]) -> float:
    """Of one meta-gradient."""
    conv4.PRODUCTS = products
    config = compose(["dataset=glyphs", *overrides, f"device.precision={precision}", "device=cuda"])
    chosen = check(plain(config, config.hydra.runtime.choices))
    with chosen.device.arithmetic():
        dataset = chosen.dataset.load(0, CUDA, torch.float32)
        learner, phi = assemble(chosen, dataset, CUDA)
        batch, recorded = dataset.sample("train", 0, tasks), MetaGradient(learner, None, compiled=False).recorded()
        return least(lambda: recorded(phi, batch))


def least(computation: Callable[[], object]) -> float:
    computation()
    spent = []
    for _ in range(ROUNDS):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(STEPS):
            computation()
        torch.cuda.synchronize()
        spent.append((time.perf_counter() - started) / STEPS)
    return min(spent)


if __name__ == "__main__":
    main()
