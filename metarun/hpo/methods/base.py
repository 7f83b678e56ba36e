"""What chooses the next configuration to try."""

from typing import Protocol

import numpy as np

from metarun.hpo.history import Observed


class Method(Protocol):
    """A way to choose configurations."""

    def propose(self, observed: Observed, random: np.random.Generator) -> int:
        """The number of an untried configuration, of which there is at least one.

        It depends on what was observed and on ``random`` alone.
        """
        ...


def first_untried(order: np.ndarray, observed: Observed, random: np.random.Generator) -> int:
    """The first configuration of ``order`` that can still be tried; a random one where there is none left."""
    untried = observed.untried
    for place in order:
        if place in untried:
            return int(place)
    return int(random.choice(untried))
