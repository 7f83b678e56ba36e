"""BOIL (Oh et al. 2021, "BOIL: towards representation change for few-shot learning"): the body alone adapts."""

from dataclasses import dataclass

from metarun.algorithms.maml import MAML
from metarun.models.base import HEAD


@dataclass(kw_only=True)
class BOIL(MAML):
    """MAML whose inner loop moves all but the last layer, at training and at test."""

    def adapts(self, name: str) -> bool:
        return super().adapts(name) and not name.startswith(HEAD)
