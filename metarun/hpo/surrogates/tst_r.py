"""TST-R: a two-stage transfer surrogate with task similarity by rank (Wistuba, Schilling & Schmidt-Thieme 2016)."""

import numpy as np

from metarun.hpo.history import Floats, History, Observed
from metarun.hpo.surrogates.base import Prediction
from metarun.hpo.surrogates.gaussian_process import fitted, posterior
from metarun.hpo.surrogates.past_processes import sources

BANDWIDTH = 0.1
"""ρ: past tasks that rank at least this share of the pairs otherwise have no weight."""
HIGHEST = 0.75
"""The weight of a past task that ranks all pairs alike, and of this task itself."""


class TSTR:
    """A weighted mean of the processes of past tasks and of this one; the variance is that of this task's alone.

    Losses are scaled to 0 to 1 over each task; on this task over the observations.
    """

    def __init__(self, history: History, points: int, seed: int = 0) -> None:
        self._x = history.x
        self._mean = sources(history.x, history.unit(), points, 0, np.random.default_rng(seed)).mean

    def predict(self, observed: Observed, random: np.random.Generator) -> Prediction:
        tried, losses = observed.scored
        spread = losses.max() - losses.min()
        y = (losses - losses.min()) / (spread if spread > 0 else 1.0)
        own, std = posterior(fitted(self._x[tried], y), self._x)
        weight = kernel(discordant(self._mean[:, tried], losses))
        mean = (weight @ self._mean + HIGHEST * own) / (weight.sum() + HIGHEST)
        return Prediction(mean, std, float(y.min()))


def discordant(predicted: Floats, losses: Floats) -> Floats:
    """The share of pairs of observations ``[n]`` that each row of ``predicted`` ``[tasks, n]`` ranks otherwise."""
    first, second = np.triu_indices(len(losses), 1)
    if not len(first):
        return np.zeros(len(predicted))
    apart: Floats = ((predicted[:, first] < predicted[:, second]) != (losses[first] < losses[second])).mean(1)
    return apart


def kernel(distance: Floats) -> Floats:
    """Epanechnikov's kernel: .75 (1 - (d/ρ)²) where d ≤ ρ, else 0."""
    return np.where(distance <= BANDWIDTH, HIGHEST * (1 - (distance / BANDWIDTH) ** 2), 0.0)
