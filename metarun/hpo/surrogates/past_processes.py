"""Gaussian processes of past tasks, which methods of transfer combine with that of the new task."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from metarun.hpo.history import Floats
from metarun.hpo.surrogates.gaussian_process import fitted, posterior


@dataclass(frozen=True)
class Sources:
    """Posteriors at all C configurations: mean and standard deviation, ``[sources, C]``; draws, ``[sources, S, C]``."""

    mean: Floats
    std: Floats
    draws: Floats


def sources(x: Floats, losses: Floats, points: int, draws: int, random: np.random.Generator) -> Sources:
    """Fit a process to each past task.

    losses: scaled, ``[sources, C]``, NaN where missing. points: how many of each are used, drawn at random. draws: S,
    samples of each process at all configurations jointly; 0: none.
    """
    means, stds, samples = [], [], []
    for row in losses:
        known = np.flatnonzero(~np.isnan(row))
        chosen = random.choice(known, min(points, len(known)), replace=False)
        process = fitted(x[chosen], row[chosen])
        mean, std = posterior(process, x)
        means.append(mean)
        stds.append(std)
        if draws:
            samples.append(_draws(process, x, draws, random))
    return Sources(np.array(means), np.array(stds), np.array(samples).reshape(len(losses), draws, len(x)))


def _draws(process: Any, x: Floats, count: int, random: np.random.Generator) -> Floats:
    """Joint draws of the function itself, ``[count, C]``; scikit-learn's own ``sample_y`` adds noise to each."""
    mean, covariance = process.predict(x, return_cov=True)
    covariance = covariance - process.kernel_.k2.noise_level * np.eye(len(x))
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    drawn: Floats = mean + random.standard_normal((count, len(x))) @ root.T
    return drawn
