"""scikit-learn's Gaussian process on encoded configurations."""

import warnings
from typing import Any

import numpy as np

from metarun.core.errors import UserError
from metarun.hpo.history import Floats, Observed
from metarun.hpo.surrogates.base import Prediction


def fitted(x: Floats, y: Floats) -> Any:
    """A Gaussian process with fitted hyperparameters: σ² · Matérn 5/2 with one length scale, plus noise."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
    except ImportError as error:
        raise UserError("Gaussian processes need scikit-learn: pip install 'metarun[hpo]'") from error
    kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(1.0, (0.1, 30.0), nu=2.5) + WhiteKernel(1e-2, (1e-6, 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of hyperparameters at a bound, which is no fault here
        return GaussianProcessRegressor(kernel, alpha=1e-8).fit(x, y)


def posterior(process: Any, x: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the function itself at ``x``, without the noise of an observation."""
    mean, std = process.predict(x, return_std=True)
    noise = process.kernel_.k2.noise_level
    return mean, np.sqrt(np.maximum(std**2 - noise, 1e-12))


def standardized(losses: Floats) -> Floats:
    """Losses with mean 0 and standard deviation 1; equal losses become zeros."""
    centered = losses - losses.mean()
    spread = losses.std()
    return centered / spread if spread > 0 else centered


class GaussianProcess:
    """A Gaussian process on this task's observations alone, standardized. x: all configurations, ``[C, d]``."""

    def __init__(self, x: Floats) -> None:
        self._x = x

    def predict(self, observed: Observed, random: np.random.Generator) -> Prediction:
        tried, losses = observed.scored
        y = standardized(losses)
        return Prediction(*posterior(fitted(self._x[tried], y), self._x), float(y.min()))
