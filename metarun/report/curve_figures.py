"""Pictures of curves: learning over meta-updates, and adaptation over inner steps."""

from collections.abc import Sequence
from math import isfinite
from statistics import fmean

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from metarun.report.events import Curves
from metarun.report.figure_parts import MOST_BANDS, band, finished, framed, labels_of, metric_scale, shade_of, style_of
from metarun.report.grouping import Configuration, Group
from metarun.report.statistics import over_seeds

MOST_LINES = 10
"""Maximum number of configurations in a figure of curves; of more, the best by validation."""
SMOOTH = 30
"""Points that a curve of meta-training is averaged down to, at most."""


def chosen(group: Group) -> list[Configuration]:
    """Those that a figure of curves shows: all, or the best by validation, in the table's order."""
    if len(group.configurations) <= MOST_LINES:
        return group.configurations
    stage, metric = "meta_val", group.selecting
    ranked = [
        (told.mean, place) for place, one in enumerate(group.configurations) if (told := one.over_seeds(stage, metric))
    ]
    ranked.sort(reverse=not group.lower_is_better(metric))
    return [group.configurations[place] for place in sorted(place for _, place in ranked[:MOST_LINES])]


def learning(group: Group, metric: str, told: Sequence[Configuration], logged: dict[int, list[Curves]]) -> Figure:
    """Meta-train and meta-val over meta-updates; bands are 95 % intervals over seeds."""
    labels = labels_of(group, told)
    figure, (left, right), legend = framed(2, labels)
    values: list[float] = []
    lower = group.lower_is_better(metric)
    for number, one in enumerate(told):
        for axes, tag, points in ((left, f"meta-train/{metric}", SMOOTH), (right, f"meta-val/{metric}", None)):
            steps, mean, half = _over_seeds([found.get(tag, {}) for found in logged[id(one)]], points)
            if not steps:
                continue
            style = style_of(number)
            (line,) = axes.plot(steps, mean, marker="." if len(steps) <= SMOOTH else None, markersize=4, **style)
            if any(half) and (axes is right or len(told) <= MOST_BANDS):
                axes.fill_between(steps, *band(mean, half, lower), **shade_of(style, told))
            values += mean
            legend[number] = (labels[number], line)
    for axes, stage in ((left, "meta-train"), (right, "meta-val")):
        axes.set_title(f"{stage} {metric}", loc="left", fontsize=10)
        axes.set_xlabel("meta-updates")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        metric_scale(axes, lower, values)
    note = "bands: 95 % over seeds" if group.several_seeds else ""
    return finished(figure, group, told, legend, note)


def adaptation(group: Group, metric: str, told: Sequence[Configuration]) -> Figure:
    """The metric on the queries of meta-test before and after every inner step, with 95 % intervals over episodes."""
    labels = labels_of(group, told)
    figure, (axes,), legend = framed(1, labels)
    values: list[float] = []
    lower = group.lower_is_better(metric)
    for number, one in enumerate(told):
        points = one.adaptation(metric)
        mean, half = [point.mean for point in points], [point.half or 0.0 for point in points]
        style = style_of(number)
        steps = range(len(points))
        (line,) = axes.plot(steps, mean, marker="o", markersize=4, **style)
        axes.fill_between(steps, *band(mean, half, lower), **shade_of(style, told))
        values += mean
        legend[number] = (labels[number], line)
    axes.set_xlabel("inner steps")
    axes.set_ylabel(f"meta-test {metric}")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    metric_scale(axes, lower, values)
    return finished(figure, group, told, legend, "bands: 95 % over episodes")


def _over_seeds(found: Sequence[dict[int, float]], points: int | None) -> tuple[list[int], list[float], list[float]]:
    """Steps that all seeds have, the mean there, and the half-width over seeds; averaged down to ``points``."""
    steps = sorted(set.intersection(*(set(curve) for curve in found)))
    steps = [step for step in steps if all(isfinite(curve[step]) for curve in found)]
    size = -(-len(steps) // points) if points and steps else 1
    at, mean, half = [], [], []
    for first in range(0, len(steps), size):
        window = steps[first : first + size]
        estimate = over_seeds([fmean(curve[step] for step in window) for curve in found])
        at.append(window[-1])
        mean.append(estimate.mean)
        half.append(estimate.half or 0.0)
    return at, mean, half
