"""The forgetting matrix."""

from collections.abc import Sequence
from math import inf, radians, sin

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

MOST_NUMBERED = 12
"""Groups up to which the forgetting matrix is written out in numbers."""
FAR_APART = 100
"""From which ratio on figures of the forgetting matrix are colored by their logarithms."""


def forgetting_figure(groups: Sequence[str], matrix: Sequence[Sequence[float]], metric: str) -> Figure:
    """The metric on every group (columns) after learning each (rows): what is below the diagonal may be forgotten."""
    count, words = len(groups), max(map(len, groups))
    numbers = count <= MOST_NUMBERED
    width, height, letter, turn = (0.9, 0.45, 0.09, 30) if numbers else (0.14, 0.14, 0.06, 90)
    size = (1.6 + width * count + letter * words, 0.9 + height * count + letter * words * sin(radians(turn)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    scale = LogNorm() if spread(matrix) > FAR_APART else Normalize()
    image = axes.imshow(matrix, aspect="auto", cmap="viridis", norm=scale)
    if numbers:
        shades = scale(np.asarray(matrix))
        for row, values in enumerate(matrix):
            for column, value in enumerate(values):
                color = "white" if shades[row, column] < 0.5 else "black"
                axes.text(column, row, f"{value:.3g}", ha="center", va="center", color=color)
    small = None if numbers else 6
    axes.set_xticks(range(count), groups, rotation=turn, ha="right" if numbers else "center", fontsize=small)
    axes.set_yticks(range(len(matrix)), groups[: len(matrix)], fontsize=small)
    axes.set_xlabel("measured on")
    axes.set_ylabel("after learning")
    figure.colorbar(image, label=metric)
    return figure


def spread(matrix: Sequence[Sequence[float]]) -> float:
    """How many times its least number a matrix's largest is; 1 where they are not all positive and finite."""
    numbers = [value for row in matrix for value in row]
    return max(numbers) / min(numbers) if all(0 < value < inf for value in numbers) else 1
