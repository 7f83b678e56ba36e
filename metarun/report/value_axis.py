"""An axis of a picture that is a hyperparameter."""

from collections.abc import Callable
from itertools import pairwise
from math import ceil, floor, log10
from typing import Any

from matplotlib.ticker import MaxNLocator, NullLocator

from metarun.core.names import shown
from metarun.report.grouping import Configuration, Group, ordered
from metarun.report.runs import HUGE
from metarun.report.text import clean

MOST_VALUES = 8
"""Different values of a hyperparameter up to which each is a mark of its axis."""
LONGEST = 16
"""Letters of a value at its mark."""
SPAN = 10
"""From which ratio of its largest to its least value on a hyperparameter's axis is logarithmic."""
GOLDEN = (5**0.5 - 1) / 2


class Axis:
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
