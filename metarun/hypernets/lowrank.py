"""A hypernetwork whose matrices are products of two narrow ones: W = U(e)V(e)ᵀ, with ``delta`` θ₀ + U(e)V(e)ᵀ.

A kernel ``[out, in, k, k]`` counts as a matrix ``[out, in·k·k]``; biases and gains are made whole, as `full` does. With
``delta``, U starts at zero and V does not, as in LoRA (Hu et al. 2022): the product is zero, its gradient is not.
"""

from dataclasses import dataclass
from math import sqrt

from torch import Tensor, nn

from metarun.core.fields import number
from metarun.hypernets.base import Hypernet
from metarun.hypernets.generating import GeneratingHypernet, TensorGenerator
from metarun.hypernets.heads import Heads, deviation, module_name, picked, uniform_head
from metarun.hypernets.trunk import Trunk
from metarun.models.base import Parameters


@dataclass(kw_only=True)
class LowRankHypernet(GeneratingHypernet):
    rank: int = number(least=1)

    def network(self, embedding_size: int, theta: Parameters) -> Hypernet:
        return LowRank(self, embedding_size, theta)


class LowRank(TensorGenerator):
    def __init__(self, config: LowRankHypernet, embedding_size: int, theta: Parameters) -> None:
        super().__init__(theta, config)
        tensors = picked(theta, self.generated)
        self.trunk = Trunk(embedding_size, config.hidden)
        self.vectors = Heads(
            self.trunk.width, {name: tensor for name, tensor in tensors.items() if tensor.dim() == 1}, config.delta
        )
        self.matrices = nn.ModuleDict(
            {
                module_name(name): Product(self.trunk.width, tensor, config.rank, config.delta)
                for name, tensor in tensors.items()
                if tensor.dim() > 1
            }
        )
        self.matrix_names = [name for name, tensor in tensors.items() if tensor.dim() > 1]

    def generate(self, embedding: Tensor) -> Parameters:
        hidden = self.trunk(embedding)
        return self.vectors(hidden) | {name: self.matrices[module_name(name)](hidden) for name in self.matrix_names}


class Product(nn.Module):
    """Makes one weight ``[out, in, ...]`` of at most that rank."""

    def __init__(self, width: int, tensor: Tensor, rank: int, delta: bool) -> None:
        super().__init__()
        self.shape = tensor.shape
        outputs, fan_in = len(tensor), tensor[0].numel()
        self.rank = min(rank, outputs, fan_in)
        # r terms of variance 1/r times 1/fan_in add up to hyperfan-in's 1/fan_in.
        self.u = uniform_head(width, outputs * self.rank, std=0.0 if delta else 1 / sqrt(self.rank))
        self.v = uniform_head(width, fan_in * self.rank, std=deviation(tensor))

    def forward(self, hidden: Tensor) -> Tensor:
        return (self.u(hidden).view(-1, self.rank) @ self.v(hidden).view(self.rank, -1)).view(self.shape)
