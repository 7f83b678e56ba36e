"""The best of several configurations with several seeds: one rule for sweeps and reports."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum
from typing import TypeVar

Name = TypeVar("Name")


@dataclass(frozen=True)
class Seeds:
    """What became of a configuration's seeds.

    found: the figures of those that have a finite one. failed: how many failed, or ended without a finite figure.
    missing: how many have no result for another reason: not begun, stopped or still running.
    """

    found: tuple[float, ...]
    failed: int = 0
    missing: int = 0

    def rank(self, higher_is_better: bool) -> tuple[int, int, float]:
        """What to sort configurations by, best first.

        Fewer failed seeds come first, then fewer missing ones, whatever the mean of the others is: otherwise a
        configuration that diverges with most seeds could win by the one that survived. The mean decides among equals.
        """
        mean = fsum(self.found) / len(self.found) if self.found else 0.0
        return self.failed, self.missing, -mean if higher_is_better else mean


def best(candidates: Mapping[Name, Seeds], higher_is_better: bool) -> Name | None:
    """The name of the best configuration; ``None`` where there is but one, or where none has a figure."""
    ranked = [name for name, seeds in candidates.items() if seeds.found]
    if len(candidates) < 2 or not ranked:
        return None
    return min(ranked, key=lambda name: candidates[name].rank(higher_is_better))
