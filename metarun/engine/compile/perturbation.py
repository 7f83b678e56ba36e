"""φ away from its start, where checks see what the start hides."""

import math

import torch
from torch import Tensor

from metarun.core.counters import key, keys, uniform
from metarun.learner.learner import MetaParameters
from metarun.models.memory import MEMORY

RELATIVE = 0.1
"""Largest change of an entry that is not zero, relative to it. It keeps its sign, so step sizes stay positive."""
ABSOLUTE = 0.05
"""Largest value of an entry that was zero, divided by √fan-in: a layer that starts at zero then adds to what the others
make of inputs of order 1 about as much as they vary."""


def perturbed(phi: MetaParameters, relative: float = RELATIVE, absolute: float = ABSOLUTE) -> MetaParameters:
    """φ with every entry changed, always in the same way. Zeros of what φ remembers (`MEMORY`) become positive."""
    return {
        group: {
            name: _displaced(tensor, key(0, "displaced", group, name), relative, absolute, group == MEMORY)
            for name, tensor in tensors.items()
        }
        for group, tensors in phi.items()
    }


def _displaced(tensor: Tensor, of: int, relative: float, absolute: float, positive: bool) -> Tensor:
    numbers = uniform(keys(of, torch.tensor(0)), tensor.numel()).view(tensor.shape).to(tensor.device)
    either = 2 * numbers - 1
    fan_in = math.prod(tensor.shape[1:])  # 1 for vectors and scalars
    fresh = absolute / math.sqrt(fan_in) * (numbers if positive else either)
    # float64 within, so that the result differs between precisions by rounding alone
    moved = torch.where(tensor == 0, fresh, tensor.double() * (1 + relative * either))
    return moved.to(tensor.dtype)
