"""A hypernetwork that only scales and shifts features: the input h of a non-linearity becomes h(1+γ) + b.

FiLM (Perez et al. 2018), the modulation of multimodal MAML (Vuorio et al. 2019); also of the head's output. γ and b, a
number each for every unit or channel, are functions of e_t; the weights stay the shared θ₀. Scaling a layer's output
is scaling its rows of weights, or the gain and shift of the normalization that follows, so an adapted task has ordinary
parameters and the network need not know.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from metarun.hypernets.base import Hypernet
from metarun.hypernets.generating import GeneratingHypernet, Generator, chosen
from metarun.hypernets.heads import module_name, uniform_head
from metarun.hypernets.trunk import Trunk
from metarun.models.base import LAYERS, NORMS, Parameters


@dataclass(kw_only=True)
class FilmHypernet(GeneratingHypernet):
    """Without ``delta``, a task's scales and shifts are made outright: W becomes g·W and the shift is b alone."""

    def network(self, embedding_size: int, theta: Parameters) -> Hypernet:
        return Film(self, embedding_size, theta)


class Film(Generator):
    def __init__(self, config: FilmHypernet, embedding_size: int, theta: Parameters) -> None:
        weights = chosen(config.layers, last_weights(theta))
        biases = {weight: bias for weight in weights if (bias := weight.removesuffix("weight") + "bias") in theta}
        made = [*weights, *biases.values()]
        # Outright made are gains and shifts; a weight matrix is θ₀'s in any case.
        outright = [] if config.delta else [name for name in made if theta[name].dim() == 1]
        super().__init__(theta, made, theta.keys() - outright)
        self.weights, self.biases, self.start = weights, biases, 1.0 if config.delta else 0.0
        self.trunk = Trunk(embedding_size, config.hidden)
        # Scales start at one whatever the task, and shifts without delta as the biases that `full` makes.
        mean, std = (0.0, 0.0) if config.delta else (1.0, 1.0)
        width = self.trunk.width
        self.scales = nn.ModuleDict({module_name(w): uniform_head(width, len(theta[w]), 0.0, mean) for w in weights})
        self.shifts = nn.ModuleDict({module_name(w): uniform_head(width, len(theta[w]), std) for w in biases})

    def tensors(self, theta: Parameters, embedding: Tensor) -> Parameters:
        hidden = self.trunk(embedding)
        made = {}
        for weight in self.weights:
            scale = self.start + self.scales[module_name(weight)](hidden)
            made[weight] = scaled(theta[weight], scale) if weight in self.shared else scale
            if weight in self.biases:
                bias, shift = self.biases[weight], self.shifts[module_name(weight)](hidden)
                made[bias] = theta[bias] * scale + shift if bias in self.shared else shift
        return made


def last_weights(theta: Parameters) -> list[str]:
    """Names of what last multiplies each layer's outputs: the gain of its normalization, or else its weights."""
    normalized = {number_of(name) for name in theta if name.startswith(NORMS)}
    weights = [name for name in theta if name.endswith(".weight")]
    return [name for name in weights if not (name.startswith(LAYERS) and number_of(name) in normalized)]


def number_of(name: str) -> str:
    return name.split(".")[1]


def scaled(weight: Tensor, scale: Tensor) -> Tensor:
    """Each output's row of a weight ``[out, ...]``, or its gain, times its scale ``[out]``."""
    return weight * scale.view(-1, *[1] * (weight.dim() - 1))
