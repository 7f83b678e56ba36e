"""Figures of a run's results."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from metarun.engine.evaluation import Episodes
from metarun.engine.insight import Insight

MOST_COLOURS = 10
"""Kinds of task that a figure tells apart by colour."""


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
    axes.set_xlabel("inner steps")
    axes.set_ylabel(f"{metric} on queries")
    axes.set_title(f"meta-test, {episodes.count:,} episodes, {mode}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def forgetting_figure(groups: Sequence[str], matrix: Sequence[Sequence[float]], metric: str) -> Figure:
    """The metric on every group (columns) after learning each (rows): what is below the diagonal may be forgotten."""
    figure = Figure(figsize=(1.8 + 0.8 * len(groups), 1.6 + 0.5 * len(groups)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(matrix, aspect="auto", cmap="viridis")
    if len(groups) <= 12:
        threshold = (min(map(min, matrix)) + max(map(max, matrix))) / 2
        for row, values in enumerate(matrix):
            for column, value in enumerate(values):
                colour = "white" if value < threshold else "black"
                axes.text(column, row, f"{value:.3g}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(groups)), groups, rotation=30, ha="right")
    axes.set_yticks(range(len(matrix)), groups[: len(matrix)])
    axes.set_xlabel("measured on")
    axes.set_ylabel("after learning")
    figure.colorbar(image, label=metric)
    return figure


def embedding_figure(seen: Insight, values: Tensor, metric: str) -> Figure:
    """Task embeddings on their first two principal components.

    Coloured by the first fact that few tasks share a value of (a family, say); else by ``values`` ``[T]`` of the
    metric.
    """
    points, share = (values.numpy() for values in principal(seen.embeddings))
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    kinds = next((f for f in seen.facts.values() if 1 < len(set(f)) <= MOST_COLOURS), None)
    if kinds is None:
        drawn = axes.scatter(points[:, 0], points[:, 1], c=values.numpy(), s=12, cmap="viridis")
        figure.colorbar(drawn, label=metric)
    else:
        for kind in sorted(set(kinds)):
            chosen = [one == kind for one in kinds]
            axes.scatter(points[chosen, 0], points[chosen, 1], s=12, label=kind, alpha=0.8)
        axes.legend(frameon=False)
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
    """How the support examples of the first tasks weigh in e_t: a row for each head, a column for each example."""
    assert seen.attention is not None
    tasks = min(tasks, len(seen.attention))
    figure = Figure(figsize=(7, 1 + 1.1 * tasks), layout="constrained")
    for number, axes in enumerate(figure.subplots(tasks, 1, squeeze=False)[:, 0]):
        weights = seen.attention[number]
        image = axes.imshow(weights.numpy(), aspect="auto", cmap="magma", vmin=0)
        labels = seen.labels[number].reshape(weights.shape[1], -1)[:, 0].tolist()
        if len(labels) <= 25:
            axes.set_xticks(range(len(labels)), [f"{label:.3g}" for label in labels], fontsize=7)
        axes.set_yticks([])
        axes.set_ylabel(f"task {number}\nheads", fontsize=8)
        figure.colorbar(image, ax=axes)
    axes.set_xlabel("support examples, by label")
    return figure
