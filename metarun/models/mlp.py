"""Multi-layer perceptron."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from metarun.core.errors import UserError
from metarun.core.fields import choice, number
from metarun.core.inputs import Inputs, InputSpec, flat
from metarun.models.normalization import KINDS, Context, normalization


@dataclass(kw_only=True)
class MLP:
    """Finn et al. 2017: 40-40 ReLU for the sine, 256-128-64-64 with batch normalization for Omniglot."""

    hidden: list[int] = number(least=1, most=1_000_000)
    activation: str = choice("relu", "tanh", "sigmoid")
    normalization: str = choice(*KINDS)

    def build(self, inputs: InputSpec, outputs: int | None, contexts: int = 0) -> nn.Module:
        if not self.hidden:
            raise UserError("model.hidden=[]: give at least one layer, as in [64,64]")
        return MLPNetwork(self, inputs.size, outputs, contexts)


class MLPNetwork(nn.Module):
    """Named inputs are put in a row. Contexts are further inputs, the same for all examples (Zintgraf et al. 2019,
    section 3.3).
    """

    def __init__(self, config: MLP, inputs: int, outputs: int | None, contexts: int) -> None:
        super().__init__()
        sizes = [inputs + contexts, *config.hidden]
        self.activation = getattr(torch, config.activation)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(
            normalization(config.normalization, size, f"norm{i}") for i, size in enumerate(config.hidden)
        )
        self.head = nn.Identity() if outputs is None else nn.Linear(sizes[-1], outputs)
        self.context = nn.Parameter(torch.zeros(contexts)) if contexts else None

    def forward(self, inputs: Inputs, context: Context) -> Tensor:
        x = flat(inputs)
        if self.context is not None:
            x = torch.cat((x, self.context.expand(len(x), -1)), 1)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self.activation(norm(layer(x), context))
        return self.head(x)
