"""Trials drawn at random from a search space."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metarun.config.hydra import ConfigLoaderImpl
from metarun.core.fields import number
from metarun.sweep.search import SEED, Proposal, Search
from metarun.sweep.settings import SweepSettings
from metarun.sweep.space import Choice, Dimension, SweepCommand, searched
from metarun.sweep.trials import Value, jobs_of, single_keys


@dataclass(kw_only=True)
class Random(SweepSettings):
    """The keys of ``conf/sweep/random.yaml``. Trial n is the same however many there are, and whenever it is drawn."""

    trials: int = number(least=1, most=100_000)
    space: str | None
    draws: int = number(least=0, most=2**63 - 1)

    def search(self, command: SweepCommand, loader: ConfigLoaderImpl, algorithm: str) -> Search:
        dimensions, fixed = searched(command, self.space or algorithm, loader)
        return RandomSearch(dimensions, [*command.constants, *fixed], command.seeds, self.trials, self.draws)


class RandomSearch(Search):
    """All trials at once."""

    tolerant = True

    def __init__(
        self,
        dimensions: Mapping[str, Dimension],
        fixed: Sequence[str],
        seeds: Sequence[str],
        trials: int,
        draws: int,
    ) -> None:
        self.keys = (*single_keys(dimensions), *[SEED] * bool(seeds))
        self._left = [
            job
            for number in range(trials)
            for job in jobs_of(number, _drawn(dimensions, (draws, number)), fixed, seeds)
        ]
        self.total = len(self._left)

    def ask(self) -> Sequence[Proposal]:
        jobs, self._left = self._left, []
        return jobs


def _drawn(dimensions: Mapping[str, Dimension], seed: tuple[int, int]) -> dict[str, Value]:
    generator = np.random.default_rng(seed)
    return {key: _one(dimension, generator.random()) for key, dimension in dimensions.items()}


def _one(dimension: Dimension, place: float) -> Value:
    """The value at ``place``, in [0, 1), of a dimension; a uniform place gives a value uniform on its scale."""
    if isinstance(dimension, Choice):
        return dimension.values[int(place * len(dimension.values))]
    low, high = dimension.low, dimension.high
    if dimension.whole:
        # Each integer has the stretch of a half on both of its sides.
        low, high = low - 0.5, high + 0.5
    value = low * (high / low) ** place if dimension.log else low + (high - low) * place
    return min(max(round(value), round(dimension.low)), round(dimension.high)) if dimension.whole else value
