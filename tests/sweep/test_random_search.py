"""Trials at random: their distribution, and that they stay what they are."""

import math
from collections import Counter

import pytest

from metarun.sweep.random_search import RandomSearch
from metarun.sweep.space import Choice, Dimension, Interval


def drawn(dimension: Dimension, trials: int = 2000) -> list[str]:
    jobs = RandomSearch({"x": dimension}, [], [], trials, draws=0).ask()
    return [job.varied[0].partition("=")[2] for job in jobs]


def test_choices_and_integers_are_uniform() -> None:
    for dimension, values in ((Choice(("a", "b", "c")), "abc"), (Interval(1, 3, log=False, whole=True), "123")):
        count = Counter(drawn(dimension))
        assert count.keys() == set(values)
        # Four standard deviations of a count of 2,000 · 1/3.
        assert all(abs(times - 2000 / 3) < 4 * math.sqrt(2000 * 2 / 9) for times in count.values())


@pytest.mark.parametrize(("log", "middle"), [(False, 5.005), (True, 0.3162)])
def test_half_of_the_numbers_are_below_the_middle_of_their_scale(log: bool, middle: float) -> None:
    numbers = [float(text) for text in drawn(Interval(0.01, 10.0, log=log, whole=False))]
    assert all(0.01 <= number <= 10.0 for number in numbers)
    assert abs(sum(number < middle for number in numbers) - 1000) < 4 * math.sqrt(500)


def test_logarithmic_integers_prefer_small_ones() -> None:
    count = Counter(drawn(Interval(1, 8, log=True, whole=True)))
    # Of [0.5, 8.5] on a log scale, 1 has log 3 / log 17 of the stretch, and 8 log(8.5 / 7.5) / log 17.
    assert count["1"] / 2000 == pytest.approx(math.log(3) / math.log(17), abs=0.045)
    assert count["8"] / 2000 == pytest.approx(math.log(8.5 / 7.5) / math.log(17), abs=0.02)


def test_a_trial_is_the_same_among_more_and_with_seeds() -> None:
    space = {"a": Interval(0, 1, log=False, whole=False), "b": Choice(("u", "v"))}
    few = RandomSearch(space, ["c=1"], [], 3, draws=5).ask()
    many = RandomSearch(space, ["c=1"], ["0", "1"], 6, draws=5)
    assert many.total == 12
    jobs = many.ask()
    assert [job.varied for job in few] == [job.varied[:-1] for job in jobs[:6:2]]
    assert [job.varied[-1] for job in jobs[:2]] == ["seed=0", "seed=1"]
    assert jobs[0].configuration == jobs[1].configuration
    assert jobs[0].overrides[0] == "c=1"
    assert list(many.ask()) == []
