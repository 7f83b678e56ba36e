"""What an optimizer knows: past tasks, what can be tried on a new one, and what was observed there so far."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class History:
    """Past tasks on a common set of C configurations.

    x: encoded configurations, ``[C, d]``. losses: lower is better, ``[tasks, C]``, NaN where a configuration was not
    evaluated or failed. features: meta-features of the tasks, ``[tasks, m]``, which may have no columns.
    """

    x: Floats
    losses: Floats
    features: Floats

    def standardized(self) -> Floats:
        """Losses with mean 0 and standard deviation 1 over each task; of a task with equal losses, zeros."""
        centered = self.losses - np.nanmean(self.losses, 1, keepdims=True)
        spread = np.nanstd(self.losses, 1, keepdims=True)
        return np.divide(centered, spread, out=np.zeros_like(centered), where=spread > 0)

    def unit(self) -> Floats:
        """Losses from 0 to 1 over each task; of a task with equal losses, zeros."""
        low, high = np.nanmin(self.losses, 1, keepdims=True), np.nanmax(self.losses, 1, keepdims=True)
        above = self.losses - low
        return np.divide(above, high - low, out=np.zeros_like(above), where=high > low)


@dataclass(frozen=True)
class Observed:
    """The new task so far.

    available: which configurations can be tried, bool ``[C]``. features: its meta-features, ``[m]``. tried: numbers of
    the configurations that were tried, in order. losses: theirs, NaN where an evaluation failed.
    """

    available: NDArray[np.bool_]
    features: Floats
    tried: NDArray[np.int64]
    losses: Floats

    @property
    def untried(self) -> NDArray[np.int64]:
        """Numbers of the configurations that can still be tried."""
        left = self.available.copy()
        left[self.tried] = False
        return np.flatnonzero(left)

    @property
    def scored(self) -> tuple[NDArray[np.int64], Floats]:
        """The tried configurations that did not fail, and their losses."""
        good = ~np.isnan(self.losses)
        return self.tried[good], self.losses[good]

    def after(self, configuration: int, loss: float) -> "Observed":
        """The same with one more trial."""
        tried, losses = np.append(self.tried, configuration), np.append(self.losses, loss)
        return Observed(self.available, self.features, tried, losses)
