"""Figures of meta-gradients of tasks: cosine similarities, and their projection over training."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from metarun.inspection.figures.components import principal

MOST_NUMBERED = 12
"""Tasks up to which cosines are written out."""
CELL = 0.42
"""Inches. Places are given by hand in what is drawn many times: to find them takes half as long as to draw."""


def cosine_figure(cosines: Tensor, step: int) -> Figure:
    """Cosines ``[T, T]`` between the meta-gradients of T tasks."""
    count = len(cosines)
    side = CELL * count
    wide, high = side + 1.85, side + 0.85
    figure = Figure(figsize=(wide, high))
    axes = figure.add_axes((0.7 / wide, 0.5 / high, side / wide, side / high))
    beside = figure.add_axes(((side + 0.9) / wide, (0.5 + 0.1 * side) / high, 0.15 / wide, 0.8 * side / high))
    image = axes.imshow(cosines.numpy(), cmap="RdBu", vmin=-1, vmax=1)
    if count <= MOST_NUMBERED:
        for row, values in enumerate(cosines.tolist()):
            for column, value in enumerate(values):
                color = "white" if abs(value) > 0.6 else "black"
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color)
        axes.set_xticks(range(count))
        axes.set_yticks(range(count))
    axes.set_xlabel("meta-train task")
    axes.set_ylabel("meta-train task")
    others = cosines[~torch.eye(count, dtype=torch.bool)]
    axes.set_title(f"step {step:,}: mean {others.mean():.2f}", fontsize=9, loc="left")
    figure.colorbar(image, beside, label="cosine of meta-gradients")
    return figure


def projection_figure(sketches: Sequence[Tensor], steps: Sequence[int]) -> Figure:
    """The directions of meta-gradients ``[T, n]`` at each of the ``steps``, on their first two principal components.

    Lengths are left out: a single long gradient would hide all others. A line for each task goes through the training.
    """
    count = len(sketches[0])
    points, share = principal(torch.nn.functional.normalize(torch.cat(list(sketches)).double()))
    paths = points.view(len(steps), count, 2)
    figure = Figure(figsize=(6, 4.4))
    axes, beside = figure.add_axes((0.12, 0.12, 0.67, 0.8)), figure.add_axes((0.81, 0.12, 0.025, 0.8))
    for task in range(count):
        axes.plot(paths[:, task, 0], paths[:, task, 1], color="0.8", linewidth=0.7, zorder=1)
    times = torch.tensor(steps).repeat_interleave(count)
    drawn = axes.scatter(points[:, 0], points[:, 1], c=times, s=16, cmap="viridis", zorder=2)
    for task, place in enumerate(paths[-1].tolist()):
        axes.annotate(str(task), place, xytext=(3, 3), textcoords="offset points", fontsize=7)
    axes.set_xlabel(f"first component ({share[0]:.0%} of the variance)", fontsize=9)
    axes.set_ylabel(f"second ({share[1]:.0%})", fontsize=9)
    axes.set_title(f"directions of the meta-gradients of {count} tasks", fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7)
    figure.colorbar(drawn, beside, label="meta-update")
    return figure
