"""A learned inner optimizer (Andrychowicz et al. 2016, "Learning to learn by gradient descent by gradient descent").

A small network, the same for every number of θ, maps what a number's gradient is like to how far the number moves along
it. The paper's is recurrent; this one has no memory, so that θ is all there is to a task. The paper's makes the update
itself; one whose output is added to the gradient learned sine waves worse than none at all, here.
"""

from math import exp

import torch
import torch.nn.functional as F
from torch import Tensor

from metarun.models.base import Parameters

PREFIX = "optimizer."
"""How the names of its parameters begin, among an algorithm's own meta-parameters."""
P = 10.0
"""Gradients below e^−P are encoded by value, larger ones by magnitude and sign (appendix A of the paper)."""


def initial(units: int, dtype: torch.dtype) -> Parameters:
    """A network with one hidden layer of ``units``, whose output is 0: the gradient stays what it is."""
    bound = 2**-0.5
    return {
        f"{PREFIX}hidden.weight": bound * (2 * torch.rand(units, 2, dtype=dtype) - 1),
        f"{PREFIX}hidden.bias": bound * (2 * torch.rand(units, dtype=dtype) - 1),
        f"{PREFIX}output.weight": torch.zeros(1, units, dtype=dtype),
        f"{PREFIX}output.bias": torch.zeros(1, dtype=dtype),
    }


def direction(params: Parameters, gradient: Parameters) -> Parameters:
    """(1 + a) g for every number g of the gradient, a being what the network makes of g."""
    flat = torch.cat([tensor.flatten() for tensor in gradient.values()])
    hidden = torch.tanh(F.linear(features(flat), params[f"{PREFIX}hidden.weight"], params[f"{PREFIX}hidden.bias"]))
    gain = F.linear(hidden, params[f"{PREFIX}output.weight"], params[f"{PREFIX}output.bias"]).squeeze(-1)
    moved = ((1 + gain) * flat).split([tensor.numel() for tensor in gradient.values()])
    return {name: part.view(gradient[name].shape) for name, part in zip(gradient, moved, strict=True)}


def features(g: Tensor) -> Tensor:
    """``[n, 2]`` for numbers ``[n]``: (log|g|/p, sign g), or (−1, e^p g) where |g| < e^−p."""
    size = g.abs()
    large = size >= exp(-P)
    logarithm = torch.where(large, size, 1).log() / P
    return torch.stack((torch.where(large, logarithm, -1), torch.where(large, g.sign(), g * exp(P))), -1)
