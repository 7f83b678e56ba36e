#!/usr/bin/env python
"""How long drawing a batch of episodes takes: 32 tasks, 5-way 1-shot, 15 queries, float32.

scripts/benchmark_sampling.py [--root FOLDER_WITH_OMNIGLOT] [--device cuda] [--threads 2]
"""

import argparse
import statistics
import time
from typing import Any

import torch

from metarun.datasets.episodes import EpisodicDataset
from metarun.datasets.glyphs import GlyphsConfig
from metarun.datasets.omniglot import OmniglotConfig

TASKS = 32
SHAPE: dict[str, Any] = {
    **{"ways": 5, "shots": 1, "queries": 15},
    **{"train_ways": None, "train_shots": None, "train_queries": None},
}


def milliseconds(dataset: EpisodicDataset, device: torch.device, calls: int) -> list[float]:
    """The time of each of ``calls`` calls, after 20 to warm up."""
    times = []
    for index in range(calls + 20):
        start = time.perf_counter()
        dataset.sample("train", index, TASKS)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    return times[20:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with Omniglot's zips; left out: glyphs only")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--calls", type=int, default=300)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    configs: list[GlyphsConfig | OmniglotConfig] = [GlyphsConfig(**SHAPE)]
    if given.root:
        configs.append(
            OmniglotConfig(**SHAPE, root=given.root, download=False, url="", protocol="vinyals", rotations=True)
        )
    for config in configs:
        dataset = config.load(0, device, torch.float32)
        times = milliseconds(dataset, device, given.calls)
        print(
            f"{dataset.name}: {TASKS} tasks in {statistics.median(times):.2f} ms median, {min(times):.2f} min, "
            f"{max(times):.2f} max of {given.calls} calls ({given.device}, {given.threads} threads)"
        )


if __name__ == "__main__":
    main()
