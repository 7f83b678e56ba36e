"""Figures of attention weights, in task embeddings and in predictions."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from metarun.inspection.attention import Attended
from metarun.inspection.figures.names import abbreviate
from metarun.inspection.task_embeddings import TaskEmbeddings

MOST_LABELED = 25
"""Support examples up to which each is labeled."""


def attention_figure(seen: TaskEmbeddings, tasks: int = 4) -> Figure:
    """How the support examples of the first tasks weigh in e_t: a row for each head, a column for each example.

    Examples are in the order of their labels.
    """
    assert seen.attention is not None
    weights = seen.attention[:tasks]
    count, heads, _ = weights.shape
    mask = torch.ones(seen.labels.shape[:2]) if seen.mask is None else seen.mask
    figure = Figure(figsize=(7, 0.8 + (0.6 + 0.15 * heads) * count), layout="constrained")
    rows = figure.subplots(count, 1, squeeze=False)[:, 0]
    for number, axes in enumerate(rows):
        chosen = mask[number] > 0
        labels, order = seen.labels[number][chosen].reshape(int(chosen.sum()), -1)[:, 0].sort()
        drawn = weights[number][:, chosen][:, order].numpy()
        image = axes.imshow(drawn, aspect="auto", cmap="magma", vmin=0, vmax=float(weights.max()))
        axes.set_xticks([])
        if len(labels) <= MOST_LABELED:
            axes.set_xticks(range(len(labels)), [f"{label:.3g}" for label in labels.tolist()], fontsize=7)
        axes.set_yticks([])
        axes.set_ylabel("heads", fontsize=8)
        told = "  ".join(fact[number] for fact in seen.facts.values())
        axes.set_title(abbreviate(f"task {number}: {told}", 100), fontsize=8, loc="left")
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
        title = abbreviate(f"task {number}: {task.told}".removesuffix(": "), 40)
        if task.right is not None:
            for labels, line in ((task.support, axes.axvline), (task.query, axes.axhline)):
                for border in (labels.diff().nonzero()[:, 0] + 0.5).tolist():
                    line(border, color="white", linewidth=0.6)
            rows = torch.arange(len(task.query))
            beside = {"clip_on": False, "transform": axes.get_yaxis_transform(), "linestyle": "none"}
            for chosen, marker, color in ((task.right, ".", "tab:green"), (~task.right, "x", "tab:red")):
                if chosen.any():  # a line without points would have its place at the figure's corner
                    axes.plot([1.03] * int(chosen.sum()), rows[chosen], marker, color=color, markersize=3, **beside)
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
    if len(labels) > MOST_LABELED:
        return [], []
    return list(map(float, range(len(labels)))), [f"{label:.3g}" for label in labels.tolist()]
