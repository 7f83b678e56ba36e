"""Bayesian optimization: the untried configuration that an acquisition function prefers."""

import numpy as np

from metarun.hpo.acquisition import Acquisition
from metarun.hpo.history import Observed
from metarun.hpo.methods.base import Method
from metarun.hpo.surrogates.base import Surrogate


class Bayesian:
    """Trials of another method first, then those of a surrogate and an acquisition function.

    initial: how many trials ``first`` chooses, failed ones not counted: a surrogate needs at least one score.
    """

    def __init__(self, surrogate: Surrogate, acquisition: Acquisition, first: Method, initial: int) -> None:
        self._surrogate, self._acquisition, self._first, self._initial = surrogate, acquisition, first, initial

    def propose(self, observed: Observed, random: np.random.Generator) -> int:
        if len(observed.scored[0]) < self._initial:
            return self._first.propose(observed, random)
        predicted = self._surrogate.predict(observed, random)
        untried = observed.untried
        value = self._acquisition(predicted.mean[untried], predicted.std[untried], predicted.best, random)
        # Where several are worth the same, such as none, the one with the lowest predicted loss.
        return int(untried[np.lexsort((predicted.mean[untried], -value))[0]])
