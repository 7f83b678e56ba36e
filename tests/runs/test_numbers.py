"""Figures as people read them."""

import pytest

from metarun.runs.numbers import decimal


@pytest.mark.parametrize(
    ("value", "plain", "signed"),
    [
        (0.92054, "0.9205", "+0.9205"),
        (-1.5, "-1.5000", "-1.5000"),
        (999_999.0, "999999.0000", "+999999.0000"),
        (36021542557.3, "3.602e+10", "+3.602e+10"),
        (-1e33, "-1e+33", "-1e+33"),
        (float("inf"), "not finite", "not finite"),
        (float("nan"), "not finite", "not finite"),
    ],
)
def test_large_numbers_are_short_and_infinite_ones_are_words(value: float, plain: str, signed: str) -> None:
    assert decimal(value) == plain
    assert decimal(value, signed=True) == signed
