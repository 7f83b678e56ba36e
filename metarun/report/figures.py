"""Pictures of a group of configurations: learning curves, hyperparameters, adaptation curves."""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from math import ceil, floor, isfinite, log10
from pathlib import Path
from statistics import fmean
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from metarun.config.names import shown
from metarun.report import keys
from metarun.report.events import Curves, curves
from metarun.report.grouping import Configuration, Group, label, lower_is_better, ordered
from metarun.report.runs import HUGE
from metarun.report.statistics import Estimate, over_seeds
from metarun.report.text import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LINES = 10
"""Configurations that a figure of curves tells apart; the best by validation where there are more."""
LINE = 36
"""Letters of a line in a legend; a label may have three."""
MOST_VALUES = 8
"""Different values of a hyperparameter up to which each is a mark of its axis."""
LONGEST = 16
"""Letters of a value at its mark."""
SPAN = 10
"""From which ratio of its largest to its least value on a hyperparameter's axis is logarithmic."""
ERRORS_SPAN = 30
"""The same of a metric that is better when lower."""
LETTER = 0.077
"""Inches that a letter takes in labels and titles, about."""
GOLDEN = (5**0.5 - 1) / 2
SMOOTH = 30
"""Points that a curve of meta-training is averaged down to, at most."""
MOST_BANDS = 4
"""Lines up to which each has a band also in meta-training, where bands are wide."""


def figures(group: Group) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """Names of the pictures that a group has, and what draws each."""
    metric = group.metrics[0]
    told = _chosen(group)
    logged = {id(one): [curves(run.folder) for run in one.runs] for one in told}
    if any(f"meta-val/{metric}" in one for seeds in logged.values() for one in seeds):
        yield "learning", lambda: learning(group, metric, told, logged)
    if any(len(one.adaptation(metric)) > 1 for one in told):
        yield "adaptation", lambda: adaptation(group, metric, told)
    if group.keys:
        yield "hyperparameters", lambda: hyperparameters(group, metric)
    if len(group.keys) > 1:
        yield "parallel", lambda: parallel(group, metric)


@contextmanager
def plain_texts() -> Iterator[None]:
    """Within, a dollar in a user's text is a dollar, and a letter that the font lacks is nobody's concern."""
    settings: Any = {"text.usetex": False, "text.parse_math": False, "svg.hashsalt": "metarun"}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Glyph.*")
        yield


def save(figure: Figure, target: Any, kind: str) -> None:
    """Write a figure as ``png`` or ``svg``, the same bytes every time."""
    metadata = {"Date": None} if kind == "svg" else {}
    figure.savefig(target, format=kind, dpi=150, metadata=metadata)


def learning(group: Group, metric: str, told: Sequence[Configuration], logged: dict[int, list[Curves]]) -> Figure:
    """Meta-train and meta-val over meta-updates; bands are 95 % intervals over seeds."""
    labels = _labels(group, told)
    figure, (left, right), legend = _frame(2, labels)
    values: list[float] = []
    for number, one in enumerate(told):
        for axes, tag, points in ((left, f"meta-train/{metric}", SMOOTH), (right, f"meta-val/{metric}", None)):
            steps, mean, half = _over_seeds([found.get(tag, {}) for found in logged[id(one)]], points)
            if not steps:
                continue
            style = _style(number)
            (line,) = axes.plot(steps, mean, marker="." if len(steps) <= SMOOTH else None, markersize=4, **style)
            if any(half) and (axes is right or len(told) <= MOST_BANDS):
                axes.fill_between(steps, *_band(mean, half, metric), **_shade(style, told))
            values += mean
            legend[number] = (labels[number], line)
    for axes, stage in ((left, "meta-train"), (right, "meta-val")):
        axes.set_title(f"{stage} {metric}", loc="left", fontsize=10)
        axes.set_xlabel("meta-updates")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        _metric_scale(axes, metric, values)
    note = "bands: 95 % over seeds" if group.several_seeds else ""
    return _finish(figure, group, told, legend, note)


def adaptation(group: Group, metric: str, told: Sequence[Configuration]) -> Figure:
    """The metric on the queries of meta-test before and after every inner step, with 95 % intervals over episodes."""
    labels = _labels(group, told)
    figure, (axes,), legend = _frame(1, labels)
    values: list[float] = []
    for number, one in enumerate(told):
        points = one.adaptation(metric)
        mean, half = [point.mean for point in points], [point.half or 0.0 for point in points]
        style = _style(number)
        steps = range(len(points))
        (line,) = axes.plot(steps, mean, marker="o", markersize=4, **style)
        axes.fill_between(steps, *_band(mean, half, metric), **_shade(style, told))
        values += mean
        legend[number] = (labels[number], line)
    axes.set_xlabel("inner steps")
    axes.set_ylabel(f"meta-test {metric}")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    _metric_scale(axes, metric, values)
    return _finish(figure, group, told, legend, "bands: 95 % over episodes")


def hyperparameters(group: Group, metric: str) -> Figure:
    """The metric at meta-val and meta-test against each hyperparameter that varies: a dot a configuration."""
    columns = min(3, len(group.keys))
    rows = -(-len(group.keys) // columns)
    figure = Figure(figsize=(1 + 3.3 * columns, 0.9 + 2.7 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flat
    handles: dict[str, Any] = {}
    values: list[float] = []
    for axes, key in zip(panels, group.keys, strict=False):
        axis = _Axis(group, key)
        for stage, word, colour, shift in (("meta_val", "meta-val", "C0", 0.3), ("meta_test", "meta-test", "C1", 0.7)):
            shown = [
                (one, estimate) for one in group.configurations if (estimate := _with_interval(one, stage, metric))
            ]
            places = [axis.beside(one, shift) for one, _ in shown]
            means = [estimate.mean for _, estimate in shown]
            halves = [estimate.half or 0.0 for _, estimate in shown]
            low, high = _band(means, halves, metric)
            errors = [
                [mean - end for mean, end in zip(means, low, strict=True)],
                [end - mean for mean, end in zip(means, high, strict=True)],
            ]
            drawn = axes.errorbar(
                places, means, errors, fmt="o", markersize=4, color=colour, alpha=0.65, elinewidth=0.8
            )
            handles.setdefault(word, drawn)
            values += means
        axis.apply(axes.xaxis, axes.set_xlim)
        axes.set_xlabel(group.names[key])
    for number, axes in enumerate(figure.axes):
        if number >= len(group.keys):
            axes.set_visible(False)
            continue
        _metric_scale(axes, metric, values)
        if number % columns == 0:
            axes.set_ylabel(metric)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    over = "seeds, or over episodes where there is one seed" if group.several_seeds else "episodes"
    _entitle(figure, group, f"bars: 95 % over {over}")
    return figure


def parallel(group: Group, metric: str) -> Figure:
    """Parallel coordinates: an axis for each hyperparameter that varies, and one for the meta-val metric."""
    shown = [(one, told.mean) for one in group.configurations if (told := one.over_seeds("meta_val", group.selecting))]
    metric = group.selecting
    names = [*group.keys, None]
    figure = Figure(figsize=(1.5 + 1.7 * len(names), 4.6), layout="constrained")
    axes = figure.subplots()
    values = [mean for _, mean in shown]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    logarithmic = lower_is_better(metric) and low > 0 and high / low >= ERRORS_SPAN
    scale = (LogNorm if logarithmic else Normalize)(low, high if high > low else low + abs(low) * 1e-3 + 1e-12)
    colours = matplotlib.colormaps["viridis_r" if lower_is_better(metric) else "viridis"]
    axis = [_Axis(group, key) for key in group.keys]
    # The best is drawn last, above the others.
    for one, mean in sorted(shown, key=lambda pair: pair[1], reverse=lower_is_better(metric)):
        places = [*(along.share(one) for along in axis), float(scale(mean))]
        best = one is group.best
        axes.plot(
            range(len(names)),
            places,
            color=colours(scale(mean)),
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
    bar = figure.colorbar(matplotlib.cm.ScalarMappable(scale, colours), ax=axes, pad=0.01)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    if logarithmic:
        bar.ax.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    _entitle(figure, group, "thick: best by validation" if group.best else "")
    return figure


_BEHIND = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1}


class _Axis:
    """Where a hyperparameter's values stand: by size where all are numbers, by their logarithm where they span much."""

    def __init__(self, group: Group, key: str) -> None:
        self._key = key
        found: list[Any] = sorted((one.first.settings.get(key) for one in group.configurations), key=ordered)
        self.numbers = all(_is_number(value) for value in found)
        positive = [value for value in found if value > 0] if self.numbers else []
        wide = bool(positive) and positive[-1] / positive[0] >= SPAN
        self.logarithmic = wide and positive == found
        self.texts = list(dict.fromkeys(self._text(value) for value in found))
        # 0, 0.0001, 0.01: neither their sizes nor their logarithms would show them apart.
        self.even = not self.numbers or (wide and not self.logarithmic and len(self.texts) <= MOST_VALUES)
        self.places = [float(place) for place in range(len(self.texts))]
        if not self.even:
            sizes = {self._text(value): log10(value) if self.logarithmic else float(value) for value in found}
            self.places = list(sizes.values())
        self._width = max(self.places) - min(self.places) or 1.0
        gaps = [after - before for before, after in pairwise(self.places)]
        self._room = 0.7 * min(gaps, default=self._width)
        self._there: dict[float, list[int]] = {}
        for one in group.configurations:
            self._there.setdefault(self.place(one), []).append(id(one))

    def _text(self, value: Any) -> str:
        return f"{value:.4g}" if self.numbers else clean(shown(value))

    def place(self, one: Configuration) -> float:
        return self.places[self.texts.index(self._text(one.first.settings.get(self._key)))]

    def beside(self, one: Configuration, share: float) -> float:
        """Around its place, so that marks don't hide each other.

        By multiples of the golden ratio, which spread evenly: side by side in the table's order they would look like a
        trend.
        """
        place = self.place(one)
        there = self._there[place]
        slot = there.index(id(one)) * GOLDEN % 1 * (1 - 1 / len(there)) + share / len(there)
        return place + self._room * (slot - 0.5)

    def share(self, one: Configuration) -> float:
        """Its place between 0 and 1; the middle where there is no other."""
        return self._share(self.place(one))

    def marks(self) -> list[tuple[float, str]]:
        """Labels and where they stand, between 0 and 1."""
        return [(self._share(place), text) for place, text in self._ticks()]

    def apply(self, axis: Any, limit: Callable[[float, float], object]) -> None:
        """Label an axis of a picture."""
        ticks = self._ticks()
        turned = sum(len(text) + 2 for _, text in ticks) > 36
        axis.set_ticks(
            [place for place, _ in ticks],
            [text for _, text in ticks],
            rotation=30 if turned else 0,
            ha="right" if turned else "center",
            fontsize=8,
        )
        axis.set_minor_locator(NullLocator())
        margin = max(0.08 * self._width, 0.6 * self._room)
        limit(min(self.places) - margin, max(self.places) + margin)

    def _ticks(self) -> list[tuple[float, str]]:
        """Places and texts of as many marks as can be read: each value, or round numbers where values are many."""
        low, high = min(self.places), max(self.places)
        found = list(zip(self.places, self.texts, strict=True))
        if len(found) > MOST_VALUES and not self.even:
            found = [(place, text) for place, text in self._round(low, high) if low <= place <= high]
        told: list[tuple[float, str]] = []
        for place, text in found:
            if not told or place - told[-1][0] >= 0.06 * self._width:
                told.append((place, text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"))
        return told

    def _round(self, low: float, high: float) -> list[tuple[float, str]]:
        if not self.logarithmic:
            return [(float(place), f"{place:.4g}") for place in MaxNLocator(6).tick_values(low, high)]
        leading = (1, 3) if high - low < 3 else (1,)
        sizes = [digit * 10.0**power for power in range(floor(low), ceil(high) + 1) for digit in leading]
        return [(log10(size), f"{size:.4g}") for size in sizes]

    def _share(self, place: float) -> float:
        return 0.5 if len(self.places) == 1 else (place - min(self.places)) / self._width


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < HUGE


def _chosen(group: Group) -> list[Configuration]:
    """Those that a figure of curves shows: all, or the best by validation, in the table's order."""
    if len(group.configurations) <= MOST_LINES:
        return group.configurations
    stage, metric = "meta_val", group.selecting
    ranked = [
        (told.mean, place) for place, one in enumerate(group.configurations) if (told := one.over_seeds(stage, metric))
    ]
    ranked.sort(reverse=not lower_is_better(metric))
    return [group.configurations[place] for place in sorted(place for _, place in ranked[:MOST_LINES])]


def _with_interval(one: Configuration, stage: str, metric: str) -> Estimate | None:
    return one.over_seeds(stage, metric) if len(one.runs) > 1 else one.over_episodes(stage, metric)


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


def _band(mean: Sequence[float], half: Sequence[float], metric: str) -> tuple[list[float], list[float]]:
    """Lower and upper ends of intervals; those of errors end above 0, where a logarithmic axis can show them."""
    low = [m - h for m, h in zip(mean, half, strict=True)]
    if lower_is_better(metric):
        low = [max(end, m / 10) if m > 0 else end for end, m in zip(low, mean, strict=True)]
    return low, [m + h for m, h in zip(mean, half, strict=True)]


def _metric_scale(axes: "Axes", metric: str, values: Sequence[float]) -> None:
    """A logarithmic axis for errors of several orders of magnitude, and a grid."""
    if lower_is_better(metric) and values and min(values) > 0 and max(values) / min(values) >= ERRORS_SPAN:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _frame(panels: int, labels: Sequence[str]) -> tuple[Figure, Sequence["Axes"], dict[int, Any]]:
    """A figure, its panels, and an empty legend: label and line by number."""
    beside = max(len(line) for label in labels for line in label.splitlines()) * LETTER if len(labels) > 1 else 0
    height = 0.3 + sum(0.14 * len(label.splitlines()) + 0.08 for label in labels)
    figure = Figure(figsize=((8 if panels > 1 else 5.2) + beside, max(4, height)), layout="constrained")
    return figure, list(figure.subplots(1, panels, sharex=True, sharey=True, squeeze=False)[0]), {}


def _finish(
    figure: Figure, group: Group, told: Sequence[Configuration], legend: dict[int, tuple[str, Any]], note: str
) -> Figure:
    if len(told) < len(group.configurations):
        note = f"the {len(told)} best by validation of {len(group.configurations)}" + (f"; {note}" if note else "")
    beside = 0.0
    if len(legend) > 1:
        labels, lines = zip(*legend.values(), strict=True)
        figure.legend(lines, labels, loc="outside right upper", frameon=False, fontsize=8)
        beside = max(len(line) for label in labels for line in label.splitlines()) * LETTER + 0.5
    _entitle(figure, group, note, beside)
    return figure


def _entitle(figure: Figure, group: Group, note: str, beside: float = 0.0) -> None:
    """What is shown, above a figure, and not above the legend that takes ``beside`` inches."""
    width = max(20, int((figure.get_size_inches()[0] - beside) / LETTER))
    lines = [*wrap(group.title, width, max_lines=3, placeholder=" …"), *wrap(note, width)]
    figure.suptitle("\n".join(lines), fontsize=9, x=0.01, ha="left")


def _labels(group: Group, told: Sequence[Configuration]) -> list[str]:
    """What tells each of these configurations from the others, in a few lines."""
    names = {
        key: group.names[key] for key in keys.varying([run for one in told for run in one.runs]) if key in group.names
    }
    found = [label(one.first, names) or group.label(one) for one in told]
    lines = ["\n".join(wrap(text, LINE, max_lines=3, placeholder=" …")) for text in found]
    # Matplotlib leaves labels out that begin with an underscore.
    return [f" {text}" if text.startswith("_") else text for text in lines]


def _style(number: int) -> dict[str, Any]:
    return {"color": f"C{number % 10}", "linewidth": 1.4}


def _shade(style: dict[str, Any], told: Sequence[Configuration]) -> dict[str, Any]:
    return {"color": style["color"], "alpha": 0.15 if len(told) <= MOST_BANDS else 0.08, "linewidth": 0}


def file_name(number: int, group: Group, name: str, kind: str) -> str:
    """A picture's file, whose name holds nothing but letters, digits and dashes."""
    words = re.findall("[a-z0-9]+", group.title.partition(" · ")[0].lower())
    return "-".join([str(number), *words])[:48] + f"-{name}.{kind}"


def draw(groups: Sequence[Group]) -> Iterator[tuple[int, Group, str, Figure]]:
    """Every picture of every group; groups count from 1."""
    for number, group in enumerate(groups, 1):
        for name, drawn in figures(group):
            yield number, group, name, drawn()


def write(groups: Sequence[Group], folder: Path, kind: str) -> list[Path]:
    """Save all pictures below ``folder``, which is made if need be; returns the files."""
    files = []
    with plain_texts():
        folder.mkdir(parents=True, exist_ok=True)
        for number, group, name, figure in draw(groups):
            file = folder / file_name(number, group, name, kind)
            save(figure, file, kind)
            files.append(file)
    return files
