"""ANIL, "almost no inner loop" (Raghu et al. 2020, "Rapid learning or feature reuse?"): only the head adapts."""

from dataclasses import dataclass

from metarun.algorithms.maml import MAML
from metarun.models.base import HEAD


@dataclass(kw_only=True)
class ANIL(MAML):
    """MAML whose inner loop moves the last layer only, at training and at test."""

    def adapts(self, name: str) -> bool:
        return super().adapts(name) and name.startswith(HEAD)
