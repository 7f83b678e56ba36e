"""Task embeddings in the plane."""

from matplotlib.figure import Figure
from torch import Tensor

from metarun.inspection.figures.components import principal
from metarun.inspection.figures.names import abbreviate
from metarun.inspection.task_embeddings import TaskEmbeddings

MOST_COLORS = 10
"""Maximum number of kinds of task with different colors."""
LETTERS = 24
"""Of a kind's name in the legend: a longer one would leave no room for the points."""


def embedding_figure(seen: TaskEmbeddings, values: Tensor, metric: str) -> Figure:
    """Task embeddings on their first two principal components.

    Colored by the first fact that has few values, some of which tasks share (a family, say); else by ``values``
    ``[T]`` of the metric.
    """
    points, share = (values.numpy() for values in principal(seen.embeddings))
    figure = Figure(figsize=(6.5, 4.5), layout="constrained")
    axes = figure.subplots()
    kinds = next((f for f in seen.facts.values() if 1 < len(set(f)) <= min(MOST_COLORS, len(f) - 1)), None)
    if kinds is None:
        drawn = axes.scatter(points[:, 0], points[:, 1], c=values.numpy(), s=12, cmap="viridis")
        figure.colorbar(drawn, label=metric)
    else:
        for kind in sorted(set(kinds)):
            chosen = [one == kind for one in kinds]
            name = abbreviate(kind, LETTERS)
            # Matplotlib leaves labels out that begin with an underscore.
            name = f" {name}" if name.startswith("_") else name
            axes.scatter(points[chosen, 0], points[chosen, 1], s=8, label=name, alpha=0.7, linewidth=0)
        figure.legend(loc="outside right upper", frameon=False, markerscale=2)
    axes.set_xlabel(f"first component ({share[0]:.0%} of the variance)")
    axes.set_ylabel(f"second ({share[1]:.0%})")
    axes.set_title(f"embeddings of {len(points):,} meta-test tasks")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
