#!/usr/bin/env python
"""Draw the first meta-test tasks of the default dataset: a row each, support | queries, a column group for each class.

scripts/draw_tasks.py docs/glyphs.png [--tasks 4] [--queries 3] [--seed 0]
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure

from metarun.datasets.glyphs import GlyphsConfig

WAYS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--queries", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    config = GlyphsConfig(
        ways=WAYS, shots=1, queries=given.queries, train_ways=None, train_shots=None, train_queries=None
    )
    batch = config.load(given.seed, torch.device("cpu"), torch.float32).sample("test", 0, given.tasks)
    figure = Figure(figsize=(1 + WAYS * 1.8, given.tasks * 0.62), layout="constrained")
    grid = figure.subplots(given.tasks, WAYS, squeeze=False)
    for task, row in enumerate(grid):
        for label, axes in enumerate(row):
            support = batch.support.x[task][batch.support.y[task] == label]
            queries = batch.query.x[task][batch.query.y[task] == label]
            strip = torch.cat([image[0] for image in (*support, *queries)], dim=1)
            axes.imshow(1 - strip, cmap="gray", vmin=0, vmax=1)
            size = strip.shape[0]
            axes.axvline(size - 0.5, color="tab:blue", linewidth=1.5)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if task == 0:
                axes.set_title(f"class {label}: support | queries", fontsize=7)
    figure.savefig(given.picture, dpi=110)


if __name__ == "__main__":
    main()
