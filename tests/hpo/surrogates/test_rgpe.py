"""RGPE against an independent computation."""

import numpy as np
import pytest
from histories import history, observed

from metarun.hpo.surrogates import rgpe
from metarun.hpo.surrogates.gaussian_process import fitted, posterior, standardized

TRIED = [0, 4, 8, 10, 15]


def test_misranked_pairs_are_counted_one_by_one() -> None:
    random = np.random.default_rng(0)
    draws, y = random.normal(size=(7, 5)), random.normal(size=5)
    expected = [sum((f[j] < f[k]) != (y[j] < y[k]) for j in range(5) for k in range(5)) for f in draws]
    assert rgpe.misranked_pairs(draws, y).tolist() == expected
    expected = [sum((f[j] < y[k]) != (y[j] < y[k]) for j in range(5) for k in range(5) if j != k) for f in draws]
    assert rgpe.misranked_when_left_out(draws, y).tolist() == expected


def test_leaving_one_out_is_fitting_without_it() -> None:
    past = history()
    x, y = past.x[TRIED], standardized(past.losses[0][TRIED])
    process = fitted(x, y)
    covariance = process.kernel_(x) + process.alpha * np.eye(len(x))
    draws = rgpe.left_out_draws(covariance, y, 200_000, np.random.default_rng(0))
    for place in range(len(x)):
        rest = [other for other in range(len(x)) if other != place]
        inverse = np.linalg.inv(covariance[np.ix_(rest, rest)])
        mean = covariance[place, rest] @ inverse @ y[rest]
        variance = covariance[place, place] - covariance[place, rest] @ inverse @ covariance[rest, place]
        assert draws[:, place].mean() == pytest.approx(mean, abs=0.01)
        assert draws[:, place].var() == pytest.approx(variance, rel=0.02)


def test_weights_are_shares_of_wins() -> None:
    # Three past tasks and the task itself, in four draws.
    misranked = np.array([[0, 4, 2, 2], [1, 4, 2, 3], [9, 9, 9, 9], [2, 4, 3, 2]], float)
    # Draw 0: task 0 wins. 1: three tie, this task among them. 2: tasks 0 and 1 share. 3: task 0 and this one tie.
    assert rgpe.weights(misranked).tolist() == [(1 + 0.5) / 4, 0.5 / 4, 0, 2 / 4]


def test_tasks_that_rank_worse_are_dropped() -> None:
    # The median of task 0 is above all of this task's, so that its single win does not count.
    misranked = np.array([[0, 9, 9, 9], [3, 3, 3, 3]], float)
    assert rgpe.weights(misranked).tolist() == [0, 1]


def test_the_prediction_is_the_weighted_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    past = history(3)
    surrogate = rgpe.RGPE(past, 99)
    weight = np.array([0.5, 0.0, 0.2, 0.3])
    monkeypatch.setattr(rgpe, "weights", lambda misranked: weight)
    losses = history(1, seed=5).losses[0]
    found = surrogate.predict(observed(losses, TRIED), np.random.default_rng(0))
    y = standardized(losses[TRIED])
    own = posterior(fitted(past.x[TRIED], y), past.x)
    mean = sum(w * m for w, m in zip(weight, [*surrogate._sources.mean, own[0]], strict=True))
    variance = sum(w**2 * s**2 for w, s in zip(weight, [*surrogate._sources.std, own[1]], strict=True))
    assert found.mean == pytest.approx(mean)
    assert found.std**2 == pytest.approx(variance)
    assert found.best == pytest.approx(y.min())


def test_before_three_observations_past_tasks_weigh_the_same() -> None:
    past = history(3)
    surrogate = rgpe.RGPE(past, 99)
    found = surrogate.predict(observed(past.losses[0], [2, 9]), np.random.default_rng(0))
    assert found.mean == pytest.approx(surrogate._sources.mean.mean(0))


def test_a_task_that_came_before_gets_most_of_the_weight() -> None:
    past = history(5)
    surrogate = rgpe.RGPE(past, 99)
    found = surrogate.predict(observed(past.losses[3], list(range(0, 18, 2))), np.random.default_rng(0))
    error = [np.abs(found.mean - scaled).mean() for scaled in past.standardized()]
    assert int(np.argmin(error)) == 3
