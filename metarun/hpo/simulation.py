"""Optimization on a task whose losses are known from a table, but only told as they are tried."""

import numpy as np
from numpy.typing import NDArray

from metarun.core.counters import key
from metarun.hpo.history import Floats, Observed
from metarun.hpo.methods.base import Method


def simulate(
    method: Method, losses: Floats, evaluated: NDArray[np.bool_], features: Floats, trials: int, seed: int, task: str
) -> NDArray[np.int64]:
    """The configurations that a method tries, in order: up to ``trials``, fewer where no more can be tried.

    losses: of the task, ``[C]``, NaN where an evaluation failed. evaluated: which configurations the table has, bool
    ``[C]``; others cannot be tried. The method sees the losses of what it tried, and the meta-features. Random numbers
    depend on the seed, the task's name and the number of the trial.
    """
    none = np.zeros(0)
    observed = Observed(evaluated, features, none.astype(np.int64), none)
    for trial in range(min(trials, int(evaluated.sum()))):
        chosen = method.propose(observed, np.random.default_rng(key(seed, "hpo", task, trial)))
        if chosen not in observed.untried:
            raise ValueError(f"configuration {chosen} of task {task} was tried before, or cannot be tried")
        observed = observed.after(chosen, float(losses[chosen]))
    return observed.tried
