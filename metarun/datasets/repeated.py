"""A few repeated tasks in place of new ones, which a working meta-learner memorizes."""

from dataclasses import dataclass
from math import gcd

import torch
from torch.utils._pytree import tree_map

from metarun.core.tasks import TaskBatch
from metarun.datasets.base import Sampler


@dataclass(frozen=True)
class Repeated:
    """The first ``count`` tasks of each stream, in turn: task number n is what ``of`` has as number n modulo count."""

    of: Sampler
    count: int

    def sample(self, stream: str, index: int, tasks: int, group: int | None = None) -> TaskBatch:
        """See `Sampler.sample`."""
        # Tasks lie side by side in runs of this length, wherever the first of them come again.
        size = gcd(tasks, self.count)
        runs, each = tasks // size, self.count // size
        places = [number % each for number in range(index * runs, (index + 1) * runs)]
        sampled = {place: self.of.sample(stream, place, size, group) for place in dict.fromkeys(places)}
        joined: TaskBatch = tree_map(lambda *leaves: torch.cat(leaves), *(sampled[place] for place in places))
        return joined
