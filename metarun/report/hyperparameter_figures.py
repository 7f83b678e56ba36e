"""Pictures of hyperparameters: each by itself, and all as parallel coordinates."""

from typing import Any

import matplotlib
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from metarun.core.intervals import Estimate
from metarun.report.figure_parts import ERRORS_SPAN, band, entitle, metric_scale
from metarun.report.grouping import Configuration, Group
from metarun.report.value_axis import Axis

_BEHIND = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1}


def hyperparameters(group: Group, metric: str) -> Figure:
    """The metric at meta-val and meta-test against each hyperparameter that varies: a dot a configuration."""
    columns = min(3, len(group.keys))
    rows = -(-len(group.keys) // columns)
    figure = Figure(figsize=(1 + 3.3 * columns, 0.9 + 2.7 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flat
    handles: dict[str, Any] = {}
    values: list[float] = []
    lower = group.lower_is_better(metric)
    for axes, key in zip(panels, group.keys, strict=False):
        axis = Axis(group, key)
        for stage, word, color, shift in (("meta_val", "meta-val", "C0", 0.3), ("meta_test", "meta-test", "C1", 0.7)):
            shown = [
                (one, estimate) for one in group.configurations if (estimate := _with_interval(one, stage, metric))
            ]
            places = [axis.beside(one, shift) for one, _ in shown]
            means = [estimate.mean for _, estimate in shown]
            halves = [estimate.half or 0.0 for _, estimate in shown]
            low, high = band(means, halves, lower)
            errors = [
                [mean - end for mean, end in zip(means, low, strict=True)],
                [end - mean for mean, end in zip(means, high, strict=True)],
            ]
            drawn = axes.errorbar(places, means, errors, fmt="o", markersize=4, color=color, alpha=0.65, elinewidth=0.8)
            handles.setdefault(word, drawn)
            values += means
        axis.apply(axes.xaxis, axes.set_xlim)
        axes.set_xlabel(group.names[key])
    for number, axes in enumerate(figure.axes):
        if number >= len(group.keys):
            axes.set_visible(False)
            continue
        metric_scale(axes, lower, values)
        if number % columns == 0:
            axes.set_ylabel(metric)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    over = "seeds, or over episodes where there is one seed" if group.several_seeds else "episodes"
    entitle(figure, group, f"bars: 95 % over {over}")
    return figure


def parallel(group: Group, metric: str) -> Figure:
    """Parallel coordinates: an axis for each hyperparameter that varies, and one for the meta-val metric."""
    shown = [(one, told.mean) for one in group.configurations if (told := one.over_seeds("meta_val", group.selecting))]
    metric = group.selecting
    lower = group.lower_is_better(metric)
    names = [*group.keys, None]
    figure = Figure(figsize=(1.5 + 1.7 * len(names), 4.6), layout="constrained")
    axes = figure.subplots()
    values = [mean for _, mean in shown]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    logarithmic = lower and low > 0 and high / low >= ERRORS_SPAN
    scale = (LogNorm if logarithmic else Normalize)(low, high if high > low else low + abs(low) * 1e-3 + 1e-12)
    colors = matplotlib.colormaps["viridis_r" if lower else "viridis"]
    axis = [Axis(group, key) for key in group.keys]
    # The best is drawn last, above the others.
    for one, mean in sorted(shown, key=lambda pair: pair[1], reverse=lower):
        places = [*(along.share(one) for along in axis), float(scale(mean))]
        best = one is group.best
        axes.plot(
            range(len(names)),
            places,
            color=colors(scale(mean)),
            linewidth=2.4 if best else 1,
            alpha=1 if best else 0.7,
        )
    for place, along in enumerate(axis):
        axes.axvline(place, color="black", linewidth=0.8)
        for share, text in along.marks():
            axes.annotate(
                text,
                (place, share),
                xytext=(-4, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=8,
                bbox=_BEHIND,
            )
    axes.axvline(len(axis), color="black", linewidth=0.8)
    axes.set_xticks(range(len(names)), [*(group.names[key] for key in group.keys), f"meta-val\n{metric}"], fontsize=9)
    axes.tick_params(length=0, pad=8)
    axes.set_yticks([])
    axes.set_xlim(-0.6, len(axis))
    axes.set_ylim(-0.03, 1.03)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(matplotlib.cm.ScalarMappable(scale, colors), ax=axes, pad=0.01)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    if logarithmic:
        bar.ax.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    entitle(figure, group, "thick: best by validation" if group.best else "")
    return figure


def _with_interval(one: Configuration, stage: str, metric: str) -> Estimate | None:
    return one.over_seeds(stage, metric) if len(one.runs) > 1 else one.over_episodes(stage, metric)
