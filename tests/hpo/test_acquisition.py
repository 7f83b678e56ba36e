"""Acquisition functions against their definitions."""

import numpy as np
import pytest

from metarun.hpo.acquisition import confidence_bound, expected_improvement, thompson

MEAN, STD = np.array([0.1, 0.5, -0.2, 0.3]), np.array([0.2, 1.0, 0.05, 0.4])


@pytest.mark.parametrize("xi", [0.0, 0.1])
def test_expected_improvement_is_the_expectation(xi: float) -> None:
    draws = MEAN + STD * np.random.default_rng(0).standard_normal((400_000, 4))
    expected = np.maximum(0.2 - xi - draws, 0).mean(0)
    found = expected_improvement(xi)(MEAN, STD, 0.2, np.random.default_rng(1))
    assert found == pytest.approx(expected, abs=4e-3)


def test_expected_improvement_where_nothing_is_uncertain() -> None:
    found = expected_improvement(0.0)(np.array([0.5, 0.1]), np.zeros(2), 0.3, np.random.default_rng(0))
    assert found.tolist() == pytest.approx([0.0, 0.2])


def test_a_confidence_bound_prefers_the_lowest_bound() -> None:
    found = confidence_bound(2.0)(MEAN, STD, 0.0, np.random.default_rng(0))
    assert found.tolist() == pytest.approx([0.3, 1.5, 0.3, 0.5])


def test_thompson_chooses_as_often_as_a_configuration_is_best() -> None:
    random = np.random.default_rng(0)
    chosen = np.bincount([int(thompson()(MEAN, STD, 0.0, random).argmax()) for _ in range(20_000)], minlength=4)
    draws = MEAN + STD * np.random.default_rng(1).standard_normal((200_000, 4))
    expected = np.bincount(draws.argmin(1), minlength=4) / len(draws)
    assert chosen / 20_000 == pytest.approx(expected, abs=0.015)
