"""A small hypernetwork that generates θ in chunks, each with a learned embedding.

Von Oswald et al. 2020, "Continual learning with hypernetworks", section 2.2: all numbers to be made are laid end to end
and cut into chunks of one length; a network on (e_t, c_i) makes chunk i. Its size does not grow with θ, but for one
embedding a chunk.

Chunks of one task are made from much the same hidden units, and so are alike: rows of a weight matrix would be near
copies of each other, and activations grow 20-fold within four layers where a chunk is a row. Every number therefore has
a fixed random sign, as in hashed networks, which share weights in the same way (Chen et al. 2015, "Compressing neural
networks with the hashing trick").
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metarun.core.counters import key, keys
from metarun.core.fields import number
from metarun.hypernets.base import Hypernet
from metarun.hypernets.generating import GeneratingHypernet, TensorGenerator
from metarun.hypernets.heads import deviation, is_gain, module_name, picked, uniform_head
from metarun.hypernets.trunk import Trunk
from metarun.models.base import Parameters, count


@dataclass(kw_only=True)
class ChunkedHypernet(GeneratingHypernet):
    chunk: int = number(least=1)
    chunk_embedding: int = number(least=1, most=1_000_000)

    def network(self, embedding_size: int, theta: Parameters) -> Hypernet:
        return Chunked(self, embedding_size, theta)


class Chunked(TensorGenerator):
    signs: Tensor

    def __init__(self, config: ChunkedHypernet, embedding_size: int, theta: Parameters) -> None:
        super().__init__(theta, config)
        tensors = picked(theta, self.generated)
        numbers = count(tensors)
        length = min(config.chunk, numbers)
        self.shapes = {name: tensor.shape for name, tensor in tensors.items()}
        self.sizes = [tensor.numel() for tensor in tensors.values()]
        # One head serves tensors of unlike fan-in, so it makes numbers of unit variance and each tensor scales its own.
        self.scales = {name: deviation(tensor) for name, tensor in tensors.items()}
        self.chunks = nn.Parameter(torch.randn(-(-numbers // length), config.chunk_embedding))
        self.trunk = Trunk(embedding_size + config.chunk_embedding, config.hidden)
        self.head = uniform_head(self.trunk.width, length, std=0.0 if config.delta else 1.0)
        self.register_buffer("signs", torch.ones(numbers, dtype=torch.int8), persistent=False)
        self.draw(0)
        # Made outright, gains start at one whatever the task: what the head makes for them counts for nothing at first.
        gains = [] if config.delta else [name for name in tensors if is_gain(name)]
        self.gains = nn.ParameterDict({module_name(name): nn.Parameter(torch.zeros(())) for name in gains})

    def draw(self, seed: int) -> None:
        # From counters: a checkpoint of φ means the same network wherever it is read.
        negative = keys(key(seed, "signs of chunks"), torch.arange(len(self.signs))) < 0
        self.signs.copy_(1 - 2 * negative.to(torch.int8))

    def generate(self, embedding: Tensor) -> Parameters:
        pairs = torch.cat((embedding.expand(len(self.chunks), -1), self.chunks), dim=1)
        numbers = self.head(self.trunk(pairs)).flatten()[: sum(self.sizes)] * self.signs
        made = {}
        for (name, shape), part in zip(self.shapes.items(), numbers.split(self.sizes), strict=True):
            gain = module_name(name)
            made[name] = (1 + self.gains[gain] * part if gain in self.gains else self.scales[name] * part).view(shape)
        return made
