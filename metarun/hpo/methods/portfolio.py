"""A greedy portfolio: a fixed order of configurations that did well on past tasks."""

import numpy as np
from numpy.typing import NDArray

from metarun.hpo.history import Floats, History, Observed
from metarun.hpo.methods.base import first_untried


class Portfolio:
    """The configurations in the order of `greedy`, whatever is observed."""

    def __init__(self, history: History, size: int) -> None:
        self.order = greedy(history.losses, size)

    def propose(self, observed: Observed, random: np.random.Generator) -> int:
        return first_untried(self.order, observed, random)


def greedy(losses: Floats, size: int) -> NDArray[np.int64]:
    """Numbers of up to ``size`` configurations, the one with the best average rank first.

    Each further one makes the average over tasks of the best rank so far as low as possible, the rank of a
    configuration being among all on the task, from 1. Ties go to the better average rank, then to the lower number.
    losses: ``[tasks, C]``; where one is missing the rank is the last.
    """
    rank = ranks(losses)
    average = rank.mean(0)
    best = np.full(len(losses), np.inf)
    order: list[int] = []
    for _ in range(min(size, losses.shape[1])):
        gained = np.minimum(best[:, None], rank).mean(0)
        gained[order] = np.inf
        chosen = int(np.lexsort((average, gained))[0])
        order.append(chosen)
        best = np.minimum(best, rank[:, chosen])
    return np.array(order, np.int64)


def ranks(losses: Floats) -> Floats:
    """Ranks from 1 over each row, the mean of those that ties share; missing ones get the last rank."""
    from scipy.stats import rankdata

    found: Floats = rankdata(np.where(np.isnan(losses), np.inf, losses), axis=1)
    return np.where(np.isnan(losses), losses.shape[1], found)
