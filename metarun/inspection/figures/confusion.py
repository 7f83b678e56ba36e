"""Figure of the confusion matrix."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from metarun.inspection.confusion import Confusion
from metarun.inspection.figures.names import abbreviate

LONG = 18
"""Letters of a class's name."""


def confusion_figure(found: Confusion, episodes: int) -> Figure:
    """Of the queries of each true class (rows), the share taken for each (columns), where a task held both.

    Cells of two classes that no task held together are hatched, and shares written out that are half a percent or more.
    """
    asked = found.asked.numpy()
    share = np.divide(found.taken.numpy(), asked, out=np.full(asked.shape, np.nan), where=asked > 0)
    names = [abbreviate(name, LONG) for name in found.names]
    side = 0.38 * len(names) + 0.075 * max(map(len, names)) + 1.2
    figure = Figure(figsize=(max(side + 0.9, 4.6), max(side, 3.4)), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("0.93")
    axes.patch.set_hatch("////")
    axes.patch.set_edgecolor("0.8")
    wrong = share[~np.eye(len(names), dtype=bool)]
    top = float(np.nanmax(wrong)) if np.isfinite(wrong).any() else 0.0
    shown = np.where(np.eye(len(names), dtype=bool), np.nan, share)
    image = axes.imshow(shown, cmap="Reds", vmin=0, vmax=max(top, 0.01))
    for row, column in np.argwhere(np.isfinite(share)):
        value, right = share[row, column], row == column
        if right:
            axes.add_patch(_square(row))
        if value >= 0.005:
            dark = not right and value > 0.6 * top
            axes.text(
                column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=7,
                color="tab:green" if right else "white" if dark else "black",
            )  # fmt: skip
    turn = 0 if max(map(len, names)) < 3 else 90
    axes.set_xticks(range(len(names)), names, rotation=turn, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("taken for")
    axes.set_ylabel("true class")
    figure.colorbar(image, label="share of the queries asked with both in the task", format=_percent, shrink=0.8)
    which = "all" if len(names) == found.classes else f"the {len(names)} most confused"
    axes.set_title(
        f"meta-test, {episodes:,} episodes: {which} of {found.classes:,} classes, {found.errors:,} errors in all\n"
        "% of the true class's queries; hatched: never in one task",
        fontsize=8, loc="left",
    )  # fmt: skip
    return figure


def _square(place: int) -> Rectangle:
    return Rectangle((place - 0.5, place - 0.5), 1, 1, facecolor="white", linewidth=0)


def _percent(value: float, position: int) -> str:
    return f"{value:.0%}"
