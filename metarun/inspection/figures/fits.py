"""Functions before and after adaptation."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from metarun.inspection.figures.names import abbreviate
from metarun.inspection.fits import Fit

MOST_ACROSS = 4


def fits_figure(fits: Sequence[Fit], stage: str) -> Figure:
    """A plot for each task: the true function where it is known, the learner's before and after, the examples."""
    across = min(MOST_ACROSS, len(fits)) if len(fits) != 4 else 2
    down = -(-len(fits) // across)
    figure = Figure(figsize=(3.3 * across, 2.4 * down + 0.4), layout="constrained")
    every = figure.subplots(down, across, squeeze=False).flatten()
    for axes in every[len(fits) :]:
        axes.axis("off")
    shown = {}
    for number, (axes, fit) in enumerate(zip(every, fits, strict=False)):
        if fit.truth is not None:
            (shown["true"],) = axes.plot(*fit.truth, color="black", linewidth=1)
        if fit.before is not None:
            (shown["before adaptation"],) = axes.plot(*fit.before, color="tab:blue", linewidth=1.2, linestyle="--")
        (shown["after" if fit.before else "predicted"],) = axes.plot(*fit.after, color="tab:orange", linewidth=1.8)
        (shown["queries"],) = axes.plot(*fit.query, ".", color="0.6", markersize=4)
        (shown["support"],) = axes.plot(*fit.support, "^", color="tab:red", markersize=5)
        axes.set_title(abbreviate(f"task {number}: {fit.told}".removesuffix(": "), 45), fontsize=8, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=7)
    figure.legend(shown.values(), shown, loc="outside lower center", ncols=len(shown), frameon=False, fontsize=8)
    figure.suptitle(stage, fontsize=9)
    return figure
