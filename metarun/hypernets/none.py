"""No hypernetwork: every task starts at θ₀."""

from dataclasses import dataclass

from torch import Tensor, nn

from metarun.models.base import Parameters


@dataclass
class NoHypernet:
    needs_embedding = False

    def build(self, embedding_size: int, theta: Parameters) -> nn.Module:
        return Shared()


class Shared(nn.Module):
    uses_theta = True

    def forward(self, theta: Parameters, embedding: Tensor) -> Parameters:
        return theta
