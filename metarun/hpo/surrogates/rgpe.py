"""RGPE: a ranking-weighted ensemble of Gaussian processes (Feurer, Letham & Bakshy 2018)."""

import numpy as np

from metarun.hpo.history import Floats, History, Observed
from metarun.hpo.surrogates.base import Prediction
from metarun.hpo.surrogates.gaussian_process import fitted, posterior, standardized
from metarun.hpo.surrogates.past_processes import sources

DRAWS = 64
"""Samples by which weights are estimated."""
LEAST = 3
"""Observations from which on the ranking is judged; before, all past tasks weigh the same."""


class RGPE:
    """mean = Σ w μ and variance = Σ w² σ² over past tasks and this one.

    Each past task, and this task's own process by leaving out one observation at a time, ranks the observations by
    draws from its posterior; a weight is how often a process misranks fewest pairs. A past task whose median number of
    misranked pairs is above the 95th percentile of this task's own is dropped. All losses are standardized by task.
    """

    def __init__(self, history: History, points: int, seed: int = 0) -> None:
        self._x = history.x
        self._sources = sources(history.x, history.standardized(), points, DRAWS, np.random.default_rng(seed))

    def predict(self, observed: Observed, random: np.random.Generator) -> Prediction:
        tried, losses = observed.scored
        y, past = standardized(losses), self._sources
        if len(tried) < LEAST:
            weight = np.full(len(past.mean), 1 / len(past.mean))
            return Prediction(weight @ past.mean, np.sqrt(weight**2 @ past.std**2), float(y.min()))
        own = fitted(self._x[tried], y)
        mean, std = posterior(own, self._x)
        covariance = own.kernel_(self._x[tried]) + own.alpha * np.eye(len(tried))
        misranked = np.stack(
            [
                *(misranked_pairs(draws[:, tried], y) for draws in past.draws),
                misranked_when_left_out(left_out_draws(covariance, y, DRAWS, random), y),
            ]
        )
        weight = weights(misranked)
        means, stds = np.vstack([past.mean, mean]), np.vstack([past.std, std])
        return Prediction(weight @ means, np.sqrt(weight**2 @ stds**2), float(y.min()))


def misranked_pairs(draws: Floats, y: Floats) -> Floats:
    """How many ordered pairs each draw ``[S, n]`` ranks otherwise than ``y`` ``[n]``: ``[S]``."""
    below = draws[:, :, None] < draws[:, None, :]
    return (below != (y[:, None] < y[None, :])).sum((1, 2)).astype(np.float64)


def misranked_when_left_out(draws: Floats, y: Floats) -> Floats:
    """The same for draws of each observation by the process without it, beside the other observations themselves."""
    below = draws[:, :, None] < y[None, None, :]
    wrong = below != (y[:, None] < y[None, :])
    return (wrong & ~np.eye(len(y), dtype=np.bool_)).sum((1, 2)).astype(np.float64)


def left_out_draws(covariance: Floats, y: Floats, count: int, random: np.random.Generator) -> Floats:
    """Draws ``[count, n]`` of each observation by the process without it (Rasmussen & Williams 2006, 5.12).

    covariance: of the observations, noise included.
    """
    precision = np.linalg.inv(covariance)
    variance = 1 / np.diag(precision)
    mean = y - (precision @ y) * variance
    return mean + np.sqrt(variance) * random.standard_normal((count, len(y)))


def weights(misranked: Floats) -> Floats:
    """Weights ``[processes]`` from numbers of misranked pairs ``[processes, S]``; the last process is this task's own.

    A tie goes to this task's own process if it is among the best, else is shared.
    """
    kept = np.median(misranked, 1) <= np.percentile(misranked[-1], 95)
    kept[-1] = True
    counted = np.where(kept[:, None], misranked, np.inf)
    best = counted == counted.min(0)
    best[:-1, best[-1]] = False
    found: Floats = (best / best.sum(0)).mean(1)
    return found
