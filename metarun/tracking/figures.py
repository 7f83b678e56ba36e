"""Figures of a run's results."""

from collections.abc import Sequence
from math import inf, radians, sin
from textwrap import shorten

import numpy as np
import torch
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from metarun.engine.attention import Attended
from metarun.engine.evaluation import Episodes
from metarun.engine.insight import Insight

MOST_COLOURS = 10
"""Kinds of task that a figure tells apart by colour."""
MOST_NUMBERED = 12
"""Groups up to which the forgetting matrix is written out in numbers."""
MOST_LABELLED = 25
"""Support examples up to which each is labelled."""
FAR_APART = 100
"""From which ratio on figures of the forgetting matrix are coloured by their logarithms."""


def adaptation_figure(episodes: Episodes, metric: str, mode: str) -> Figure:
    """The metric on the queries before and after every inner step, with its 95 % interval over episodes.

    ``mode``: transductive or inductive.
    """
    curve = episodes.adaptation()[metric]
    steps = range(len(curve["mean"]))
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    low = [mean - half for mean, half in zip(curve["mean"], curve["ci95"], strict=True)]
    high = [mean + half for mean, half in zip(curve["mean"], curve["ci95"], strict=True)]
    axes.fill_between(steps, low, high, alpha=0.25, linewidth=0)
    axes.plot(steps, curve["mean"], marker="o", markersize=4)
    axes.set_xlim(-0.5, len(steps) - 0.5)
    axes.set_xlabel("inner steps")
    axes.set_ylabel(f"{metric} on queries")
    axes.set_title(f"meta-test, {episodes.count:,} episodes, {mode}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


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
                colour = "white" if shades[row, column] < 0.5 else "black"
                axes.text(column, row, f"{value:.3g}", ha="center", va="center", color=colour)
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


def embedding_figure(seen: Insight, values: Tensor, metric: str) -> Figure:
    """Task embeddings on their first two principal components.

    Coloured by the first fact that few tasks share a value of (a family, say); else by ``values`` ``[T]`` of the
    metric.
    """
    points, share = (values.numpy() for values in principal(seen.embeddings))
    figure = Figure(figsize=(6.5, 4.5), layout="constrained")
    axes = figure.subplots()
    kinds = next((f for f in seen.facts.values() if 1 < len(set(f)) <= MOST_COLOURS), None)
    if kinds is None:
        drawn = axes.scatter(points[:, 0], points[:, 1], c=values.numpy(), s=12, cmap="viridis")
        figure.colorbar(drawn, label=metric)
    else:
        for kind in sorted(set(kinds)):
            chosen = [one == kind for one in kinds]
            axes.scatter(points[chosen, 0], points[chosen, 1], s=8, label=kind, alpha=0.7, linewidth=0)
        figure.legend(loc="outside right upper", frameon=False, markerscale=2)
    axes.set_xlabel(f"first component ({share[0]:.0%} of the variance)")
    axes.set_ylabel(f"second ({share[1]:.0%})")
    axes.set_title(f"embeddings of {len(points):,} meta-test tasks")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def principal(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates ``[T, 2]`` on the first two principal components, and their shares of the variance ``[2]``."""
    centred = (embeddings - embeddings.mean(0)).double()
    left, values, _ = torch.linalg.svd(centred, full_matrices=False)
    coordinates = torch.nn.functional.pad(left * values, (0, 2))[:, :2]
    share = values.square() / values.square().sum().clamp(min=torch.finfo(torch.float64).tiny)
    return coordinates, torch.nn.functional.pad(share, (0, 2))[:2]


def attention_figure(seen: Insight, tasks: int = 4) -> Figure:
    """How the support examples of the first tasks weigh in e_t: a row for each head, a column for each example.

    Examples are in the order of their labels.
    """
    assert seen.attention is not None
    weights = seen.attention[:tasks]
    count, heads, _ = weights.shape
    real = torch.ones(seen.labels.shape[:2]) if seen.real is None else seen.real
    figure = Figure(figsize=(7, 0.8 + (0.6 + 0.15 * heads) * count), layout="constrained")
    rows = figure.subplots(count, 1, squeeze=False)[:, 0]
    for number, axes in enumerate(rows):
        chosen = real[number] > 0
        labels, order = seen.labels[number][chosen].reshape(int(chosen.sum()), -1)[:, 0].sort()
        drawn = weights[number][:, chosen][:, order].numpy()
        image = axes.imshow(drawn, aspect="auto", cmap="magma", vmin=0, vmax=float(weights.max()))
        axes.set_xticks([])
        if len(labels) <= MOST_LABELLED:
            axes.set_xticks(range(len(labels)), [f"{label:.3g}" for label in labels.tolist()], fontsize=7)
        axes.set_yticks([])
        axes.set_ylabel("heads", fontsize=8)
        told = "  ".join(fact[number] for fact in seen.facts.values())
        axes.set_title(shorten(f"task {number}: {told}", 100), fontsize=8, loc="left")
    axes.set_xlabel("support examples, by label")
    figure.colorbar(image, ax=rows, label="weight in e_t")
    return figure


def queries_figure(seen: Sequence[Attended]) -> Figure:
    """How support examples (columns) weigh in the prediction for each query (rows), for a few tasks.

    Both are in the order of their labels. Right of each row stands a dot where the prediction is the right class, and a
    cross where it is not.
    """
    figure = Figure(figsize=(1.2 + 2.6 * len(seen), 4.8), layout="constrained")
    columns = figure.subplots(1, len(seen), squeeze=False)[0]
    most = max(float(task.weights.max()) for task in seen)
    for number, (axes, task) in enumerate(zip(columns, seen, strict=True)):
        image = axes.imshow(
            task.weights.numpy(), aspect="auto", cmap="magma", vmin=0, vmax=most, interpolation="nearest"
        )
        classes = task.right is not None
        axes.set_xticks(*_label_ticks(task.support, classes), fontsize=7, rotation=0 if classes else 90)
        axes.set_yticks(*_label_ticks(task.query, classes), fontsize=7)
        title = shorten(f"task {number}: {task.told}".removesuffix(": "), 40)
        if task.right is not None:
            for labels, line in ((task.support, axes.axvline), (task.query, axes.axhline)):
                for border in (labels.diff().nonzero()[:, 0] + 0.5).tolist():
                    line(border, color="white", linewidth=0.6)
            rows = torch.arange(len(task.query))
            beside = {"clip_on": False, "transform": axes.get_yaxis_transform(), "linestyle": "none"}
            for chosen, marker, colour in ((task.right, ".", "tab:green"), (~task.right, "x", "tab:red")):
                axes.plot([1.03] * int(chosen.sum()), rows[chosen], marker, color=colour, markersize=3, **beside)
            title += f"\n{int(task.right.sum())} of {len(task.right)} right"
        axes.set_title(title, fontsize=8, loc="left")
    columns[0].set_ylabel("queries, by label")
    figure.supxlabel("support examples, by label", fontsize=9)
    figure.colorbar(image, ax=columns, label="weight in the prediction", pad=0.02)
    return figure


def _label_ticks(labels: Tensor, classes: bool) -> tuple[list[float], list[str]]:
    """Where sorted labels are told beside an image: each class once, amid its examples; targets where they are few."""
    if classes:
        rows = torch.arange(float(len(labels)))
        return [float(rows[labels == label].mean()) for label in labels.unique()], [
            str(int(n)) for n in labels.unique()
        ]
    if len(labels) > MOST_LABELLED:
        return [], []
    return list(map(float, range(len(labels)))), [f"{label:.3g}" for label in labels.tolist()]
