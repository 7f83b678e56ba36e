"""No hypernetwork: every task is initialized with θ₀."""

from dataclasses import dataclass

from torch import Tensor

from metarun.hypernets.base import Hypernet
from metarun.models.base import Parameters


@dataclass
class NoHypernet:
    needs_embedding = False
    lr_scale = 1.0

    def build(self, embedding_size: int, theta: Parameters) -> Hypernet:
        return Shared(theta)


class Shared(Hypernet):
    def __init__(self, theta: Parameters) -> None:
        super().__init__()
        self.generated = frozenset()
        self.shared = frozenset(theta)

    def forward(self, theta: Parameters, embedding: Tensor) -> Parameters:
        return theta
