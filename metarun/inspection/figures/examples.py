"""Figure of images of a few tasks, with the predicted classes of their queries."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from metarun.inspection.examples import ImagePredictions
from metarun.inspection.figures.names import abbreviate

MOST_CLASSES, MOST_SUPPORT, MOST_QUERIES = 10, 5, 10
"""Classes of a task that are drawn, and images of each."""
RIGHT, WRONG = (43, 161, 43), (214, 38, 41)
EDGE, GAP = 2, 3
"""Pixels of an image's frame, for images of 28 pixels, and of the paper between two."""
INCH, HEAD, TITLE, LETTER, MARGIN, LEAST = 0.38, 0.3, 0.3, 0.09, 0.12, 5.6
"""On paper: an image's side, the lines above all and above each task, a letter of a name, a margin, and how wide the
figure must be for the first line."""
MOST_LETTERS = 14
"""Of a class's name."""


def examples_figure(tasks: Sequence[ImagePredictions], stage: str) -> Figure:
    """A block for each task, and in it a row for each class: support images, then queries in a green frame where they
    are taken for what they are, else in a red one with the class that they are taken for.

    All of it is one image with text upon it: with axes for each task it takes half as long again to draw.
    """
    sheet = _Sheet(tasks)
    figure = Figure(figsize=sheet.inches)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    paper = np.full((*sheet.pixels, 3), 255, np.uint8)
    for number, task in enumerate(tasks):
        top, left = sheet.corner(number)
        _draw(axes, paper, task, sheet, top, left)
        right = int((task.guesses == task.query_labels).sum())
        axes.text(left, top - GAP, f"task {number}: {right} of {len(task.guesses)} right", fontsize=8)
    axes.imshow(paper, interpolation="nearest", aspect="auto")
    what = f"{stage}: support, and queries framed green where right and red where wrong"
    axes.text(sheet.length(MARGIN), sheet.length(HEAD) / 2, what, fontsize=9, va="center")
    return figure


class _Sheet:
    """Where things stand, in pixels of the images."""

    def __init__(self, tasks: Sequence[ImagePredictions]) -> None:
        image = tasks[0].support
        self.edge = max(1, round(EDGE * image.shape[-1] / 28))
        self.high, self.side = (size + 2 * self.edge + GAP for size in image.shape[-2:])
        self.support = max(_most(task.support_labels, MOST_SUPPORT) for task in tasks)
        queries = max(_most(task.query_labels, MOST_QUERIES) for task in tasks)
        self.apart = self.side // 2
        self._across = 2 if len(tasks) > 1 else 1
        down = -(-len(tasks) // self._across)
        rows = max(len(_classes(task)) for task in tasks)
        letters = min(MOST_LETTERS, max(len(task.names[label]) for task in tasks for label in _classes(task)))
        self._names = self.length(2 * MARGIN + LETTER * letters)
        self._wide = self._names + self.side * (self.support + queries) + self.apart
        self._tall = self.length(TITLE) + self.high * rows
        high = self.length(HEAD) + down * self._tall + self.length(MARGIN)
        wide = self._across * self._wide + self.length(MARGIN)
        self.pixels = (high, max(wide, self.length(LEAST)))
        down_inches, across_inches = (INCH * size / self.side for size in self.pixels)
        self.inches = (across_inches, down_inches)

    def length(self, inches: float) -> int:
        return round(inches / INCH * self.side)

    def corner(self, number: int) -> tuple[int, int]:
        """Top and left of the first image of a task."""
        down, across = divmod(number, self._across)
        return (
            self.length(HEAD) + down * self._tall + self.length(TITLE),
            across * self._wide + self._names,
        )


def _draw(axes: Axes, paper: NDArray[np.uint8], task: ImagePredictions, sheet: _Sheet, top: int, left: int) -> None:
    edge, side = sheet.edge, sheet.side
    for row, label in enumerate(_classes(task)):
        above = top + row * sheet.high
        name = abbreviate(task.names[label], MOST_LETTERS)
        axes.text(left - GAP, above + sheet.high / 2, name, fontsize=9, ha="right", va="center")
        for place, image in enumerate(task.support[task.support_labels == label][: sheet.support]):
            _paste(paper, image, above + edge, left + place * side + edge)
        asked = (task.query_labels == label).nonzero()[:MOST_QUERIES, 0]
        for place, query in enumerate(asked.tolist()):
            guess = int(task.guesses[query])
            beside = left + sheet.apart + (sheet.support + place) * side
            paper[above : above + sheet.high - GAP, beside : beside + side - GAP] = RIGHT if guess == label else WRONG
            _paste(paper, task.query[query], above + edge, beside + edge)
            if guess != label:
                axes.text(
                    beside + side - GAP - edge, above + edge, abbreviate(task.names[guess], 6),
                    fontsize=7, color="white", ha="right", va="top",
                    bbox={"facecolor": [part / 255 for part in WRONG], "linewidth": 0, "pad": 0.6},
                )  # fmt: skip


def _classes(task: ImagePredictions) -> list[int]:
    labels: list[int] = torch.cat((task.support_labels, task.query_labels)).unique().tolist()
    return labels[:MOST_CLASSES]


def _most(labels: Tensor, limit: int) -> int:
    return min(int(labels.bincount().max()), limit) if len(labels) else 0


def _paste(paper: NDArray[np.uint8], image: Tensor, top: int, left: int) -> None:
    """``image`` is ``[C, H, W]`` from 0 to 1, of one channel or three."""
    pixels = (255 * image).round().clamp(0, 255).byte().expand(3, -1, -1).permute(1, 2, 0).numpy()
    paper[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
