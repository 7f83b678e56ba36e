"""Figures as people read them."""

from math import isfinite

LARGE = 1e6
"""From here on digits behind the point say nothing, and those before it are hard to count."""


def decimal(value: float, *, signed: bool = False) -> str:
    """Four decimals; of large numbers four digits and a power of ten; ``not finite`` for ∞ and NaN."""
    if not isfinite(value):
        return "not finite"
    return format(value, f"{'+' if signed else ''}{'.4f' if abs(value) < LARGE else '.4g'}")
