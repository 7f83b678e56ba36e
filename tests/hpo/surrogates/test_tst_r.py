"""TST-R against an independent computation."""

from itertools import combinations

import numpy as np
import pytest
from histories import history, observed

from metarun.hpo.surrogates.gaussian_process import fitted, posterior
from metarun.hpo.surrogates.past_processes import sources
from metarun.hpo.surrogates.tst_r import TSTR


@pytest.mark.parametrize("tried", [[5], [0, 9], [1, 3, 6, 12, 16, 17]])
def test_the_prediction_is_the_kernel_average(tried: list[int]) -> None:
    past = history(6)
    losses = past.losses[2] + 0.01
    found = TSTR(past, 99).predict(observed(losses, tried), np.random.default_rng(0))
    means = sources(past.x, past.unit(), 99, 0, np.random.default_rng(0)).mean
    y = losses[tried]
    scaled = (y - y.min()) / ((y.max() - y.min()) or 1)
    own, std = posterior(fitted(past.x[tried], scaled), past.x)
    total, weights = 0.75 * own, 0.75
    for mean in means:
        pairs = list(combinations(range(len(tried)), 2))
        wrong = [(mean[tried[a]] < mean[tried[b]]) != (y[a] < y[b]) for a, b in pairs]
        distance = sum(wrong) / len(pairs) if pairs else 0.0
        weight = 0.75 * (1 - (distance / 0.1) ** 2) if distance <= 0.1 else 0.0
        total, weights = total + weight * mean, weights + weight
    assert found.mean == pytest.approx(total / weights)
    assert found.std == pytest.approx(std)
    assert found.best == 0
