"""Random search."""

import numpy as np

from metarun.hpo.history import Observed


class RandomSearch:
    """Any untried configuration, all alike (Bergstra & Bengio 2012)."""

    def propose(self, observed: Observed, random: np.random.Generator) -> int:
        return int(random.choice(observed.untried))
