"""Gaussian processes of past tasks."""

import numpy as np
import pytest
from histories import history

from metarun.hpo.surrogates.gaussian_process import fitted, posterior
from metarun.hpo.surrogates.past_processes import sources


def test_each_is_fitted_to_its_task() -> None:
    past = history(4)
    past.losses[2, 5] = np.nan
    scaled = past.standardized()
    found = sources(past.x, scaled, 99, 2000, np.random.default_rng(0))
    known = ~np.isnan(scaled[2])
    mean, std = posterior(fitted(past.x[known], scaled[2][known]), past.x)
    # The order of the points differs.
    assert found.mean[2] == pytest.approx(mean, abs=1e-3)
    assert found.std[2] == pytest.approx(std, abs=1e-3)
    assert found.draws.shape == (4, 2000, 18)
    assert found.draws[2].mean(0) == pytest.approx(mean, abs=5 * std.max() / 2000**0.5 + 1e-3)
    assert found.draws[2].std(0) == pytest.approx(std, rel=0.1, abs=1e-3)


def test_fewer_points() -> None:
    past = history(2)
    found = sources(past.x, past.unit(), 5, 0, np.random.default_rng(0))
    assert found.draws.shape == (2, 0, 18)
    assert np.abs(found.mean - sources(past.x, past.unit(), 18, 0, np.random.default_rng(0)).mean).max() > 1e-3
