"""What predicts the losses of configurations on a task."""

from typing import NamedTuple, Protocol

import numpy as np

from metarun.hpo.history import Floats, Observed


class Prediction(NamedTuple):
    """mean, std: of the loss of every configuration, ``[C]``. best: the lowest observed loss in the same units."""

    mean: Floats
    std: Floats
    best: float


class Surrogate(Protocol):
    """A model of a task's losses."""

    def predict(self, observed: Observed, random: np.random.Generator) -> Prediction:
        """Predict the losses of all configurations from what was observed, of which at least one trial has a score."""
        ...
