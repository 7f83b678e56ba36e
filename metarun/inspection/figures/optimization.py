"""Pictures of a comparison of optimizers: regret by trial, and average ranks with critical differences."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from metarun.core.intervals import clustered_mean
from metarun.hpo.scoring import CriticalDifference, Regrets, cliques

_FLOOR = 1e-4
"""Regrets are not drawn below this."""


def regret_figure(regrets: Regrets, metric: str) -> Figure:
    """Mean normalized regret of each method after each trial, with bands of 95 % intervals over tasks."""
    trials = np.arange(1, regrets.values.shape[2] + 1)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(regrets.methods):
        means = [clustered_mean(values.tolist(), regrets.groups) for values in regrets.values[place].T]
        middle = np.array([each.mean for each in means])
        half = np.array([each.half or 0.0 for each in means])
        (line,) = axes.plot(trials, middle.clip(_FLOOR), color=f"C{place}", label=name, linewidth=1.6)
        # The lower end of an interval may be below 0, which a logarithmic axis cannot show.
        low = np.maximum(middle - half, middle / 10)
        axes.fill_between(
            trials, low.clip(_FLOOR), (middle + half).clip(_FLOOR), color=line.get_color(), alpha=0.1, linewidth=0
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    shown = [trial for trial in (1, 2, 5, 10, 20, 50, 100, 200, 500) if trial <= trials[-1]]
    axes.set_xticks(shown, [str(trial) for trial in shown])
    axes.minorticks_off()
    axes.set_xlabel("trials")
    axes.set_ylabel(f"normalized regret ({metric})")
    axes.set_title(f"{regrets.values.shape[1]} meta-test tasks")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def rank_figure(found: CriticalDifference, trial: int) -> Figure:
    """Average ranks on a line, best on the left; bars join methods that do not differ at the 5 % level.

    Nemenyi's test, drawn as in Demšar (2006).
    """
    order = sorted(found.ranks, key=lambda name: found.ranks[name])
    many, spans = len(order), cliques(found)
    rows = (many + 1) // 2
    figure = Figure(figsize=(7.5, 1.3 + 0.28 * rows + 0.12 * len(spans)), layout="constrained")
    axes = figure.subplots()
    top = 0.6 + 0.35 * len(spans)
    axes.hlines(0, 1, many, color="black", linewidth=1)
    for tick in range(1, many + 1):
        axes.vlines(tick, 0, 0.15, color="black", linewidth=1)
        axes.text(tick, 0.25, str(tick), ha="center", va="bottom")
    for place, name in enumerate(order):
        left = place < rows
        depth = -(top + 0.7 * (place if left else many - 1 - place))
        edge: float = 0.7 if left else many + 0.3
        rank = found.ranks[name]
        axes.plot([rank, rank, edge], [0, depth, depth], color="0.35", linewidth=0.9)
        axes.text(edge, depth, f" {name} ({rank:.2f}) ", ha="right" if left else "left", va="center")
    for place, (low, high) in enumerate(spans):
        axes.hlines(-(0.3 + 0.35 * place), low - 0.04, high + 0.04, color="black", linewidth=3)
    axes.hlines(1.35, 1, 1 + found.difference, color="black", linewidth=1.5)
    axes.text(1 + found.difference / 2, 1.5, f"critical difference {found.difference:.2f}", ha="center", va="bottom")
    axes.set_xlim(-0.9, many + 1.9)
    axes.set_ylim(-(top + 0.7 * rows), 2.4)
    axes.set_title(f"average rank after {trial} trials, {found.blocks} groups of tasks", fontsize="medium")
    axes.axis("off")
    return figure
