"""ANIL, "almost no inner loop" (Raghu et al. 2020, "Rapid learning or feature reuse?"): only the head adapts."""

from dataclasses import dataclass

from metarun.algorithms.maml import MAML
from metarun.core.errors import UserError
from metarun.models.base import HEAD


@dataclass(kw_only=True)
class ANIL(MAML):
    """MAML whose inner loop moves the last layer only, at training and at test."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.contexts:
            raise UserError(
                f"algorithm.contexts={self.contexts}: ANIL adapts only the last layer, which has no context; set "
                "algorithm.contexts=0, or use algorithm=cavia"
            )

    def adapts(self, name: str) -> bool:
        return super().adapts(name) and name.startswith(HEAD)
