"""The Gaussian process against its closed form and against scikit-learn."""

import numpy as np
import pytest
from histories import history, observed
from sklearn.gaussian_process import GaussianProcessRegressor

from metarun.hpo.surrogates.gaussian_process import GaussianProcess, fitted

TRIED = [0, 4, 7, 10, 15]


def test_it_is_scikit_learns_of_standardized_losses() -> None:
    past = history()
    losses = past.losses[0]
    found = GaussianProcess(past.x).predict(observed(losses, TRIED), np.random.default_rng(0))
    y = losses[TRIED]
    kernel = fitted(past.x[TRIED], (y - y.mean()) / y.std()).kernel_
    # normalize_y scales the answer back to the units of the losses.
    theirs = GaussianProcessRegressor(kernel, alpha=1e-8, optimizer=None, normalize_y=True).fit(past.x[TRIED], y)
    mean, std = theirs.predict(past.x, return_std=True)
    assert found.mean * y.std() + y.mean() == pytest.approx(mean)
    noise = kernel.k2.noise_level * y.std() ** 2
    assert (found.std * y.std()) ** 2 == pytest.approx(np.maximum(std**2 - noise, 1e-12 * y.std() ** 2), abs=1e-10)
    assert found.best == pytest.approx((y.min() - y.mean()) / y.std())


def test_it_is_the_closed_form() -> None:
    past = history()
    losses = past.losses[1]
    found = GaussianProcess(past.x).predict(observed(losses, TRIED), np.random.default_rng(0))
    y = (losses[TRIED] - losses[TRIED].mean()) / losses[TRIED].std()
    kernel = fitted(past.x[TRIED], y).kernel_
    amplitude, length = kernel.k1.k1.constant_value, kernel.k1.k2.length_scale
    noise = kernel.k2.noise_level + 1e-8

    def k(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        d = np.sqrt(5) * np.linalg.norm(a[:, None] - b[None], axis=2) / length
        return amplitude * (1 + d + d**2 / 3) * np.exp(-d)

    seen, cross = k(past.x[TRIED], past.x[TRIED]) + noise * np.eye(5), k(past.x, past.x[TRIED])
    assert found.mean == pytest.approx(cross @ np.linalg.solve(seen, y), abs=1e-6)
    variance = amplitude - np.einsum("ij,ji->i", cross, np.linalg.solve(seen, cross.T))
    assert found.std**2 == pytest.approx(np.maximum(variance, 1e-12), abs=1e-6)


def test_a_single_observation_and_equal_ones() -> None:
    past = history()
    for tried in ([3], [3, 3 + 1]):
        losses = np.full(past.x.shape[0], 0.25)
        found = GaussianProcess(past.x).predict(observed(losses, tried), np.random.default_rng(0))
        assert np.isfinite(found.mean).all()
        assert (found.std > 0).all()
        assert found.best == 0
