"""Several surrogates as one."""

from collections.abc import Sequence

import numpy as np

from metarun.hpo.history import Observed
from metarun.hpo.surrogates.base import Prediction, Surrogate


class Ensemble:
    """The equal mixture of its members' predictions, which have the same units (Lakshminarayanan et al. 2017)."""

    def __init__(self, members: Sequence[Surrogate]) -> None:
        self._members = members

    def predict(self, observed: Observed, random: np.random.Generator) -> Prediction:
        each = [member.predict(observed, random) for member in self._members]
        means, stds = np.stack([one.mean for one in each]), np.stack([one.std for one in each])
        mean = means.mean(0)
        variance = (stds**2 + means**2).mean(0) - mean**2
        return Prediction(mean, np.sqrt(np.maximum(variance, 0)), each[0].best)
