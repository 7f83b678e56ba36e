"""Past tasks and observations for tests of optimizers."""

from collections.abc import Sequence

import numpy as np
import tuning

from metarun.datasets.score_tables.encoding import encoded
from metarun.hpo.history import Floats, History, Observed


def history(tasks: int = 6, each: int = 9, seed: int = 0) -> History:
    table = tuning.table(tasks, each, seed)
    return History(encoded(table.space, table.configurations)[0], table.scores["error"], table.features)


def observed(losses: Floats, tried: Sequence[int], features: Sequence[float] = (0.0, 0.3)) -> Observed:
    """These configurations were tried on a task with these losses."""
    places = np.array(tried, np.int64)
    return Observed(np.ones(len(losses), np.bool_), np.array(features), places, losses[places])
