"""Student's t against closed forms, tables and scipy."""

from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarun.core.student_t import inverse, quantile, within

# Two-sided 95 % quantiles as printed in every table of Student's t.
TABLE = {
    1: 12.7062,
    2: 4.30265,
    3: 3.18245,
    4: 2.77645,
    5: 2.57058,
    9: 2.26216,
    30: 2.04227,
    120: 1.97993,
    999: 1.962341,
}


@pytest.mark.parametrize(("freedom", "value"), TABLE.items())
def test_quantiles_are_those_of_the_table(freedom: int, value: float) -> None:
    assert quantile(freedom) == pytest.approx(value, rel=2e-6)


def test_one_and_two_degrees_of_freedom_have_closed_forms() -> None:
    assert within(1.0, 1) == pytest.approx(0.5)  # Cauchy: 2 atan(t) / π
    assert within(3.0, 2) == pytest.approx(3 / sqrt(2 + 9))  # t / √(2 + t²)


@pytest.mark.parametrize("freedom", [*range(1, 12), 50, 99, 1000, 4999])
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0, 2.5, 8.0])
def test_the_distribution_is_that_of_scipy(freedom: int, t: float) -> None:
    from scipy import stats

    assert within(t, freedom) == pytest.approx(stats.t.cdf(t, freedom) - stats.t.cdf(-t, freedom), abs=1e-12)
    assert quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 30])
@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 0.95, 0.999, 1 - 1e-9])
def test_the_inverse_is_that_of_scipy(freedom: int, probability: float) -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy, of the extra tables, is not installed")
    expected = stats.t.isf((1 - probability) / 2, freedom)
    assert inverse(probability, freedom) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(st.integers(1, 3000))
def test_a_quantile_holds_95_percent(freedom: int) -> None:
    assert within(quantile(freedom), freedom) == pytest.approx(0.95, abs=1e-11)
