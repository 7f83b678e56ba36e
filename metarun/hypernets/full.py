"""A hypernetwork that generates whole tensors: an MLP on e_t with one linear head for each (Ha, Dai & Le 2017)."""

from dataclasses import dataclass

from torch import Tensor

from metarun.hypernets.base import Hypernet
from metarun.hypernets.generating import GeneratingHypernet, TensorGenerator
from metarun.hypernets.heads import Heads, picked
from metarun.hypernets.trunk import Trunk
from metarun.models.base import Parameters


@dataclass(kw_only=True)
class FullHypernet(GeneratingHypernet):
    def network(self, embedding_size: int, theta: Parameters) -> Hypernet:
        return Full(self, embedding_size, theta)


class Full(TensorGenerator):
    def __init__(self, config: FullHypernet, embedding_size: int, theta: Parameters) -> None:
        super().__init__(theta, config)
        self.trunk = Trunk(embedding_size, config.hidden)
        self.heads = Heads(self.trunk.width, picked(theta, self.generated), config.delta)

    def generate(self, embedding: Tensor) -> Parameters:
        return self.heads(self.trunk(embedding))
