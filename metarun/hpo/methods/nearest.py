"""What was best on the past data sets that resemble the new one."""

import numpy as np
from numpy.typing import NDArray

from metarun.core.errors import UserError
from metarun.hpo.history import Floats, History, Observed
from metarun.hpo.methods.base import first_untried


class NearestTasks:
    """The best configuration of the nearest past task, of the second nearest, … (Feurer, Springenberg & Hutter 2015).

    The distance is that of auto-sklearn: the L1 norm of meta-features, standardized over the past tasks. After the best
    of every task come the second best, in the same order of tasks. Raises `UserError` without meta-features.
    """

    def __init__(self, history: History) -> None:
        if not history.features.shape[1]:
            raise UserError("hpo.methods: nearest needs meta-features of the tasks, which this table has none of")
        self._history = history
        spread = history.features.std(0)
        self._spread = np.where(spread > 0, spread, 1.0)
        self._best = np.argsort(np.where(np.isnan(history.losses), np.inf, history.losses), 1, kind="stable")

    def propose(self, observed: Observed, random: np.random.Generator) -> int:
        near = np.argsort(self._distances(observed.features), kind="stable")
        return first_untried(self._order(near), observed, random)

    def _distances(self, features: Floats) -> Floats:
        difference = (self._history.features - features) / self._spread
        found: Floats = np.abs(difference).sum(1)
        return found

    def _order(self, near: NDArray[np.int64]) -> NDArray[np.int64]:
        """The best of each task, nearest first; then the second best; and so on."""
        return self._best[near].T.ravel()
