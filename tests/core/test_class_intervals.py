"""Intervals for other classes against dense matrices, a closed form, and their coverage by simulation."""

import numpy as np
import pytest
from numpy.typing import NDArray

from metarun.core.class_intervals import ClassSample
from metarun.core.intervals import clustered_mean


def drawn(random: np.random.Generator, episodes: int, classes: int, ways: int) -> NDArray[np.int64]:
    return np.stack([random.permutation(classes)[:ways] for _ in range(episodes)])


def membership(classes: NDArray[np.int64]) -> NDArray[np.float64]:
    found = np.zeros((len(classes), classes.max() + 1))
    found[np.arange(len(classes))[:, None], classes] = 1
    return found


def test_the_components_solve_the_equations_of_the_quadratic_forms() -> None:
    """By dense matrices: E[r'Br] = tr(PBP (σ_h² A + σ² I)) for B = I and B = A."""
    random = np.random.default_rng(0)
    classes = drawn(random, 40, 12, 4)
    values = random.normal(size=40) + membership(classes) @ random.normal(size=12)
    shared = membership(classes) @ membership(classes).T
    centering = np.eye(40) - 1 / 40
    residuals = centering @ values
    forms = [np.eye(40), shared]
    left = [[np.trace(centering @ form @ centering @ by) for by in (shared, np.eye(40))] for form in forms]
    expected = np.linalg.solve(left, [residuals @ form @ residuals for form in forms])
    assert (expected > 0).all()
    assert ClassSample(classes.tolist()).components(values.tolist()) == pytest.approx(tuple(expected))


def test_one_class_in_each_episode_has_the_clustered_interval() -> None:
    random = np.random.default_rng(1)
    labels = np.arange(120) % 8
    values = (random.normal(size=8)[labels] + random.normal(size=120)).tolist()
    found, expected = ClassSample(labels[:, None].tolist()).mean(values), clustered_mean(values, labels.tolist())
    assert found.half == pytest.approx(expected.half)
    assert (found.mean, found.clusters) == (pytest.approx(expected.mean), 8)


def test_classes_without_repetition_have_the_interval_over_episodes() -> None:
    values = np.random.default_rng(2).normal(size=20).tolist()
    found = ClassSample(np.arange(60).reshape(20, 3).tolist()).mean(values)
    assert found.half == pytest.approx(clustered_mean(values).half)
    assert found.clusters == 60


def test_the_same_classes_in_all_episodes_have_no_interval() -> None:
    found = ClassSample([[0, 1, 2], [2, 0, 1], [1, 2, 0]]).mean([0.1, 0.2, 0.3])
    assert (found.mean, found.half, found.clusters) == (pytest.approx(0.2), None, 3)


def test_non_finite_values_have_no_interval() -> None:
    assert ClassSample([[0, 1], [1, 2], [0, 2]]).mean([0.1, float("inf"), 0.3]).half is None


@pytest.mark.parametrize(("classes", "ways", "effect"), [(6, 5, 0.1), (10, 5, 0.1), (30, 5, 0.05), (30, 5, 0.0)])
def test_the_interval_covers_the_mean_of_all_classes(classes: int, ways: int, effect: float) -> None:
    """The interval over episodes does not, where classes differ; where they don't, both do."""
    random = np.random.default_rng(classes)
    covered, over_episodes, repeats = 0, 0, 300
    for _ in range(repeats):
        chosen = drawn(random, 300, classes, ways)
        own = effect * random.normal(size=classes)
        values = (own[chosen].sum(1) + 0.2 * random.normal(size=300)).tolist()
        found, plain = ClassSample(chosen.tolist()).mean(values), clustered_mean(values)
        assert found.half is not None
        assert plain.half is not None
        covered += abs(found.mean) <= found.half
        over_episodes += abs(plain.mean) <= plain.half
    assert covered / repeats >= 0.92
    assert covered / repeats <= (0.98 if effect else 1)
    assert (over_episodes / repeats < 0.6) == bool(effect)
