"""The adaptation curve."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from metarun.engine.evaluation import EvaluationResult


def adaptation_figure(episodes: EvaluationResult, metric: str, mode: str) -> Figure:
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
