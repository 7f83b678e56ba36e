"""Images of a few tasks, and what their queries are taken for."""

from collections.abc import Sequence
from textwrap import shorten

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from metarun.engine.examples import Examples

MOST_CLASSES, MOST_SUPPORT, MOST_QUERIES = 10, 5, 10
"""Classes of a task that are drawn, and images of each."""
RIGHT, WRONG, PAPER = (0.17, 0.63, 0.17), (0.84, 0.15, 0.16), (1.0, 1.0, 1.0)
EDGE, GAP = 2, 3
"""Pixels of an image's frame, for images of 28 pixels, and of the paper between two."""
INCH = 0.38
"""Of an image's side on paper."""


def examples_figure(tasks: Sequence[Examples], stage: str) -> Figure:
    """A block for each task, and in it a row for each class: support images, then queries in a green frame where they
    are taken for what they are, else in a red one with the class that they are taken for.
    """
    rows = max(len(_classes(task)) for task in tasks)
    support = max(_most(task.support_labels, MOST_SUPPORT) for task in tasks)
    queries = max(_most(task.query_labels, MOST_QUERIES) for task in tasks)
    across = 2 if len(tasks) > 1 else 1
    down = -(-len(tasks) // across)
    size = (across * (INCH * (support + queries + 1) + 1.1), down * (INCH * rows + 0.45) + 0.35)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(f"{stage}: support, and queries framed green where right and red where wrong", fontsize=9)
    every = figure.subplots(down, across, squeeze=False).flatten()
    for axes in every:
        axes.axis("off")
    for number, (axes, task) in enumerate(zip(every, tasks, strict=False)):
        _draw(axes, task, support, queries)
        right = int((task.guesses == task.query_labels).sum())
        axes.set_title(f"task {number}: {right} of {len(task.guesses)} right", fontsize=8, loc="left")
    return figure


def _draw(axes: Axes, task: Examples, support: int, queries: int) -> None:
    classes = _classes(task)
    side = task.support.shape[-1] + 2 * _edge(task) + GAP
    height = task.support.shape[-2] + 2 * _edge(task) + GAP
    apart = side // 2
    paper = np.ones((height * len(classes), side * (support + queries) + apart, 3))
    for row, label in enumerate(classes):
        axes.text(-GAP, (row + 0.5) * height, shorten(task.names[label], 14), fontsize=9, ha="right", va="center")
        for place, image in enumerate(task.support[task.support_labels == label][:support]):
            _paste(paper, _framed(image, PAPER, _edge(task)), row * height, place * side)
        asked = (task.query_labels == label).nonzero()[:queries, 0]
        for place, query in enumerate(asked.tolist()):
            guess = int(task.guesses[query])
            left = apart + (support + place) * side
            frame = RIGHT if guess == label else WRONG
            _paste(paper, _framed(task.query[query], frame, _edge(task)), row * height, left)
            if guess != label:
                axes.text(
                    left + side - GAP - _edge(task), row * height + _edge(task), shorten(task.names[guess], 8),
                    fontsize=8, color="white", ha="right", va="top",
                    bbox={"facecolor": WRONG, "linewidth": 0, "pad": 0.6},
                )  # fmt: skip
    axes.imshow(paper, interpolation="nearest")


def _classes(task: Examples) -> list[int]:
    labels: list[int] = torch.cat((task.support_labels, task.query_labels)).unique().tolist()
    return labels[:MOST_CLASSES]


def _most(labels: Tensor, limit: int) -> int:
    return min(int(labels.unique(return_counts=True)[1].max()), limit) if len(labels) else 0


def _edge(task: Examples) -> int:
    return max(1, round(EDGE * task.support.shape[-1] / 28))


def _framed(image: Tensor, colour: tuple[float, float, float], edge: int) -> NDArray[np.float64]:
    """``[H, W, 3]`` with a frame around it; an image is ``[C, H, W]`` from 0 to 1."""
    pixels = image.double().clamp(0, 1).expand(3, -1, -1).permute(1, 2, 0).numpy()
    high, wide, _ = pixels.shape
    framed = np.empty((high + 2 * edge, wide + 2 * edge, 3))
    framed[:] = colour
    framed[edge : edge + high, edge : edge + wide] = pixels
    return framed


def _paste(paper: NDArray[np.float64], image: NDArray[np.float64], top: int, left: int) -> None:
    paper[top : top + image.shape[0], left : left + image.shape[1]] = image
