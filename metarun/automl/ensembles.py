"""Weighted averages of the predictions of several models."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarun.automl.cross_validation import predicted

Floats = NDArray[np.float64]
Loss = Callable[[Floats], float]
"""``f(predictions)``: lower is better."""
ROUNDS = 30


def top(losses: Sequence[float], count: int) -> Floats:
    """Equal weights ``[models]`` of the ``count`` models with the lowest losses; of equal ones, the first."""
    weights = np.zeros(len(losses))
    weights[np.argsort(losses, kind="stable")[:count]] = 1
    return weights / weights.sum()


def greedy(predictions: Floats, loss: Loss, rounds: int = ROUNDS) -> Floats:
    """Weights ``[models]`` by greedy selection with replacement (Caruana et al. 2004).

    Each round adds the model with which the average has the lowest loss; the weights are those after the round that
    had the lowest loss of all, the first of equal ones. predictions: ``[models, n]`` or ``[models, n, classes]``, on
    rows that the models were not trained on.
    """
    total = np.zeros(predictions.shape[1:])
    counts = np.zeros(len(predictions))
    best, kept = np.inf, counts
    for done in range(1, rounds + 1):
        losses = [loss((total + each) / done) for each in predictions]
        chosen = int(np.argmin(losses))
        total = total + predictions[chosen]
        counts[chosen] += 1
        if losses[chosen] < best:
            best, kept = losses[chosen], counts.copy()
    return kept / kept.sum()


def average(predictions: Floats, weights: Floats) -> Floats:
    """The weighted average over the first axis."""
    found: Floats = np.tensordot(weights, predictions, 1)
    return found


@dataclass(frozen=True)
class WeightedAverage:
    """Fitted pipelines with weights that sum to 1. classes: how many; None for regression."""

    pipelines: tuple[Any, ...]
    weights: tuple[float, ...]
    classes: int | None

    def predicted(self, x: Any) -> Floats:
        """Class probabilities ``[n, classes]``, or numbers ``[n]``."""
        each = np.stack([predicted(pipeline, x, self.classes) for pipeline in self.pipelines])
        return average(each, np.array(self.weights))
