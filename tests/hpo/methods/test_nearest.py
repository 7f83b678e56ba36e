"""The best configurations of the nearest data sets."""

from dataclasses import replace

import numpy as np
import pytest
from histories import history, observed

from metarun.core.errors import UserError
from metarun.hpo.methods.nearest import NearestTasks


def test_the_best_of_the_nearest_come_first() -> None:
    past = history(5)
    features = np.array([0.4, 0.35])
    spread = past.features.std(0)
    distance = [sum(abs(row - features) / spread) for row in past.features]
    near = sorted(range(5), key=lambda task: distance[task])
    wanted: list[int] = []
    for depth in range(3):
        for task in near:
            place = sorted(range(18), key=lambda column: past.losses[task][column])[depth]
            if place not in wanted:
                wanted.append(place)
    method, tried = NearestTasks(past), []
    for _ in range(len(wanted)):
        tried.append(method.propose(observed(past.losses[0], tried, features), np.random.default_rng(0)))
    assert tried == wanted


def test_missing_scores_are_never_best() -> None:
    past = history(3)
    past.losses[:, 4] = np.nan
    method = NearestTasks(past)
    assert 4 not in [
        method.propose(observed(past.losses[0], [], row), np.random.default_rng(0)) for row in past.features
    ]


def test_constant_meta_features_do_not_count() -> None:
    past = history(3)
    past.features[:, 1] = 2.0
    method = NearestTasks(past)
    found = method.propose(observed(past.losses[0], [], past.features[1]), np.random.default_rng(0))
    assert found == int(past.losses[1].argmin())


def test_without_meta_features_it_is_refused() -> None:
    with pytest.raises(UserError, match=r"hpo\.methods: nearest needs meta-features"):
        NearestTasks(replace(history(), features=np.zeros((6, 0))))
