"""Formatting of texts and numbers for all output formats."""

from math import floor, log10
from typing import Any

from metarun.core.intervals import Estimate

NOTHING = "–"
MOST_DECIMALS = 7
LEAST_P = 1e-12
"""Smaller p-values are not shown: differences of numbers near 1 have no more digits."""
LARGE = 1e6
"""Numbers from here on, and those with more decimals than above, are printed with an exponent."""


def clean(value: Any) -> str:
    """A value as text of one line that no terminal takes for a command: what cannot be printed becomes a �."""
    words = " ".join(str(value).split())
    return "".join(letter if letter.isprintable() else "�" for letter in words)


def figure(estimate: Estimate | None) -> str:
    """``0.9195 ± 0.0051``: four digits of the mean or more, and two of the half-width or more."""
    if estimate is None:
        return NOTHING
    decimals = _decimals(estimate.mean, 4)
    if estimate.half is None:
        return number(estimate.mean)
    if estimate.half > 0:
        decimals = max(decimals, _decimals(estimate.half, 2))
    if decimals > MOST_DECIMALS or max(abs(estimate.mean), estimate.half) >= LARGE:
        return f"{estimate.mean:.3e} ± {estimate.half:.1e}"
    return f"{estimate.mean:.{decimals}f} ± {estimate.half:.{decimals}f}"


def number(value: float | None) -> str:
    """A number of four digits."""
    if value is None:
        return NOTHING
    decimals = _decimals(value, 4)
    return f"{value:.3e}" if decimals > MOST_DECIMALS or abs(value) >= LARGE else f"{value:.{decimals}f}"


def margin(estimate: Estimate | None) -> str:
    """The half-width alone, with as many decimals as it has beside its mean."""
    if estimate is None or estimate.half is None:
        return NOTHING
    return "± " + figure(estimate).split(" ± ")[1]


def probability(p: float | None) -> str:
    """``0.0661``; ``< 1e-12`` for all that are smaller."""
    if p is None:
        return NOTHING
    return f"< {LEAST_P:.0e}" if p < LEAST_P else f"{p:.3g}"


def duration(seconds: float | None) -> str:
    """``1:15``, ``2:03:10``."""
    if seconds is None:
        return NOTHING
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _decimals(value: float, digits: int) -> int:
    """How many decimals show that many digits of a value."""
    return digits if value == 0 else max(0, digits - 1 - floor(log10(abs(value))))
