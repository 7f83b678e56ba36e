"""Common parts of figures in a report: frames, legends, titles, bands and scales."""

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from metarun.report import keys
from metarun.report.grouping import Configuration, Group, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE = 36
"""Letters of a line in a legend; a label may have three."""
ERRORS_SPAN = 30
"""The same of a metric that is better when lower."""
LETTER = 0.077
"""Inches that a letter takes in labels and titles, about."""
MOST_BANDS = 4
"""Lines up to which each has a band also in meta-training, where bands are wide."""


def band(mean: Sequence[float], half: Sequence[float], lower: bool) -> tuple[list[float], list[float]]:
    """Lower and upper ends of intervals; those of errors end above 0, where a logarithmic axis can show them.

    lower: whether the metric is an error, of which less is better.
    """
    low = [m - h for m, h in zip(mean, half, strict=True)]
    if lower:
        low = [max(end, m / 10) if m > 0 else end for end, m in zip(low, mean, strict=True)]
    return low, [m + h for m, h in zip(mean, half, strict=True)]


def metric_scale(axes: "Axes", lower: bool, values: Sequence[float]) -> None:
    """A logarithmic axis for errors of several orders of magnitude, and a grid; ``lower`` as in `band`."""
    if lower and values and min(values) > 0 and max(values) / min(values) >= ERRORS_SPAN:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def framed(panels: int, labels: Sequence[str]) -> tuple[Figure, Sequence["Axes"], dict[int, Any]]:
    """A figure, its panels, and an empty legend: label and line by number."""
    beside = max(len(line) for label in labels for line in label.splitlines()) * LETTER if len(labels) > 1 else 0
    height = 0.3 + sum(0.14 * len(label.splitlines()) + 0.08 for label in labels)
    figure = Figure(figsize=((8 if panels > 1 else 5.2) + beside, max(4, height)), layout="constrained")
    return figure, list(figure.subplots(1, panels, sharex=True, sharey=True, squeeze=False)[0]), {}


def finished(
    figure: Figure, group: Group, told: Sequence[Configuration], legend: dict[int, tuple[str, Any]], note: str
) -> Figure:
    if len(told) < len(group.configurations):
        note = f"the {len(told)} best by validation of {len(group.configurations)}" + (f"; {note}" if note else "")
    beside = 0.0
    if len(legend) > 1:
        labels, lines = zip(*legend.values(), strict=True)
        figure.legend(lines, labels, loc="outside right upper", frameon=False, fontsize=8)
        beside = max(len(line) for label in labels for line in label.splitlines()) * LETTER + 0.5
    entitle(figure, group, note, beside)
    return figure


def entitle(figure: Figure, group: Group, note: str, beside: float = 0.0) -> None:
    """What is shown, above a figure, and not above the legend that takes ``beside`` inches."""
    width = max(20, int((figure.get_size_inches()[0] - beside) / LETTER))
    lines = [*wrap(group.title, width, max_lines=3, placeholder=" …"), *wrap(note, width)]
    figure.suptitle("\n".join(lines), fontsize=9, x=0.01, ha="left")


def labels_of(group: Group, told: Sequence[Configuration]) -> list[str]:
    """What distinguishes each of these configurations from the others, in a few lines."""
    names = {
        key: group.names[key] for key in keys.varying([run for one in told for run in one.runs]) if key in group.names
    }
    found = [label(one.first, names) or group.label(one) for one in told]
    lines = ["\n".join(wrap(text, LINE, max_lines=3, placeholder=" …")) for text in found]
    # Matplotlib leaves labels out that begin with an underscore.
    return [f" {text}" if text.startswith("_") else text for text in lines]


def style_of(number: int) -> dict[str, Any]:
    return {"color": f"C{number % 10}", "linewidth": 1.4}


def shade_of(style: dict[str, Any], told: Sequence[Configuration]) -> dict[str, Any]:
    return {"color": style["color"], "alpha": 0.15 if len(told) <= MOST_BANDS else 0.08, "linewidth": 0}
