"""CAVIA (Zintgraf et al. 2019, "Fast context adaptation via meta-learning"): a few numbers of context adapt alone."""

from dataclasses import dataclass

import torch

from metarun.algorithms.base import InnerState
from metarun.algorithms.maml import MAML
from metarun.core.errors import UserError
from metarun.models.base import CONTEXT, Parameters


@dataclass(kw_only=True)
class CAVIA(MAML):
    """c ← c − α∇_c L_S(θ, c) from c = 0, and θ ← θ − β∇_θ L_Q(θ, c) (equations 3 and 5)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.contexts:
            raise UserError("algorithm.contexts=0: nothing else adapts in CAVIA; give at least 1")

    def adapts(self, name: str) -> bool:
        return name == CONTEXT

    def initial_state(self, params: Parameters, theta: Parameters) -> InnerState:
        return super().initial_state(params, {**theta, CONTEXT: torch.zeros_like(theta[CONTEXT])})
