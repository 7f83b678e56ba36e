"""The mixture of several surrogates."""

from dataclasses import dataclass

import numpy as np
import pytest
from histories import history, observed

from metarun.hpo.history import Observed
from metarun.hpo.surrogates.base import Prediction
from metarun.hpo.surrogates.ensemble import Ensemble


@dataclass
class Fixed:
    mean: float
    std: float

    def predict(self, observed: Observed, random: np.random.Generator) -> Prediction:
        return Prediction(np.full(18, self.mean), np.full(18, self.std), 0.5)


def test_moments_are_those_of_the_mixture() -> None:
    random = np.random.default_rng(0)
    members = [Fixed(0.0, 1.0), Fixed(2.0, 0.5), Fixed(-1.0, 0.1)]
    draws = np.concatenate([each.mean + each.std * random.standard_normal(300_000) for each in members])
    found = Ensemble(members).predict(observed(history().losses[0], [1]), random)
    assert found.mean[0] == pytest.approx(draws.mean(), abs=0.01)
    assert found.std[0] == pytest.approx(draws.std(), abs=0.01)
    assert found.best == 0.5
