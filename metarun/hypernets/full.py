"""A hypernetwork that makes every weight: an MLP on e_t with one linear head for each tensor of θ.

Initialised by hyperfan-in (Chang, Flokas & Lipson 2020, "Principled weight initialization for hypernetworks"), so that
the generated network keeps the scale of its activations; with ``delta``, θ_t⁰ = θ₀ + f(e_t) as HyperMAML has it
(Przewięźlikowski et al. 2022), with heads at zero, so that training starts at θ₀.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor, nn

from metarun.errors import UserError
from metarun.models.base import Parameters


@dataclass(kw_only=True)
class FullHypernet:
    hidden: list[int]
    delta: bool
    needs_embedding = True

    def build(self, embedding_size: int, theta: Parameters) -> nn.Module:
        if not self.hidden or min(self.hidden) < 1:
            raise UserError(f"hypernet.hidden={self.hidden}: give at least one layer, each of 1 unit or more")
        return Full(embedding_size, self.hidden, theta, self.delta)


class Full(nn.Module):
    def __init__(self, embedding_size: int, hidden: list[int], theta: Parameters, delta: bool) -> None:
        super().__init__()
        self.uses_theta = delta
        self.shapes = {name: tensor.shape for name, tensor in theta.items()}
        sizes = [embedding_size, *hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        # Unit mean square, which hyperfan-in assumes of a head's input.
        self.trunk = nn.Sequential(*layers, nn.RMSNorm(sizes[-1], elementwise_affine=False))
        self.heads = nn.ModuleDict()
        for name, tensor in theta.items():
            head = nn.Linear(sizes[-1], tensor.numel())
            nn.init.zeros_(head.bias)
            if delta:
                nn.init.zeros_(head.weight)
            else:
                hyperfan_in(head, tensor)
            self.heads[name.replace(".", "/")] = head  # a module's name may not hold a dot

    def forward(self, theta: Parameters, embedding: Tensor) -> Parameters:
        hidden = self.trunk(embedding)
        made = {name: self.heads[name.replace(".", "/")](hidden).view(shape) for name, shape in self.shapes.items()}
        return {name: theta[name] + made[name] for name in made} if self.uses_theta else made


def hyperfan_in(head: nn.Linear, target: Tensor) -> None:
    """Initialise the head that makes ``target``, a weight ``[out, in, ...]`` or a vector ``[n]``.

    Uniform with variance 1/(d·fan_in) for weights and 1/d for biases, d the head's input width. A vector of ones is the
    gain of a normalisation layer, which starts at one whatever the task.
    """
    d = head.in_features
    if target.dim() > 1:
        bound = sqrt(3 / (d * target[0].numel()))
    elif torch.equal(target, torch.ones_like(target)):
        nn.init.zeros_(head.weight)
        nn.init.ones_(head.bias)
        return
    else:
        bound = sqrt(3 / d)
    nn.init.uniform_(head.weight, -bound, bound)
