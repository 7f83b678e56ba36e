"""The convolutional network of the few-shot literature: blocks of 3x3 convolution, normalization, ReLU."""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarun.core.errors import UserError
from metarun.core.fields import choice, number
from metarun.core.inputs import Inputs, InputSpec, image_and_others
from metarun.models.normalization import KINDS, Context, normalization
from metarun.models.patches import convolved, halved, patches, places

PRODUCTS = ("cuda",)
"""Types of devices on which convolutions are computed as products of matrices."""


@dataclass(kw_only=True)
class Conv4:
    """Vinyals et al. 2016, with max-pooling; Finn et al. 2017 use strides and a mean over space for Omniglot."""

    channels: int = number(least=1, most=1_000_000)
    layers: int = number(least=1)
    downsample: str = choice("stride", "pool")
    readout: str = choice("flatten", "mean")
    normalization: str = choice(*KINDS)

    def build(self, inputs: InputSpec, outputs: int | None, contexts: int = 0) -> nn.Module:
        if len(inputs.images) != 1:
            needed = "needs images" if not inputs.images else "takes one image"
            raise UserError(
                f"model=conv4: {needed}, and this dataset's inputs have shape {inputs.shape}; use model=mlp"
            )
        _, height, width = dict(inputs.parts)[inputs.images[0]].shape
        halvings = min(height, width).bit_length() - 1
        if self.downsample == "pool" and min(height, width) < 2**self.layers:
            raise UserError(
                f"model.layers={self.layers}: {height}x{width} images can be halved {halvings} times; "
                f"set model.layers={halvings} or model.downsample=stride"
            )
        return Conv4Network(self, inputs, outputs, contexts)


class Conv4Network(nn.Module):
    """Contexts scale and shift the channels of the third block, or of the last where there are fewer, before its ReLU:
    h(1 + γ) + β, both linear in the context (FiLM, as in Zintgraf et al. 2019, section 3.3). Of named inputs one is an
    image, and all others join its features, before the last layer.
    """

    def __init__(self, config: Conv4, inputs: InputSpec, outputs: int | None, contexts: int) -> None:
        super().__init__()
        self.conditioned = min(2, config.layers - 1)
        self.context = nn.Parameter(torch.zeros(contexts)) if contexts else None
        self.modulation = nn.Linear(contexts, 2 * config.channels) if contexts else None
        self.pool = config.downsample == "pool"
        self.mean = config.readout == "mean"
        # A bias before a layer that subtracts the mean does nothing.
        bias = config.normalization in ("group", "none")
        self.image = inputs.images[0]
        channels, height, width = dict(inputs.parts)[self.image].shape
        sizes = [channels] + [config.channels] * config.layers
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=1 if self.pool else 2, padding=1, bias=bias) for a, b in pairwise(sizes)
        )
        for block, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Conv2d)
            self.register_buffer(f"places{block}", places(height, width, layer.stride[0]), persistent=False)
            height, width = (side // 2 if self.pool else halved(side, 2) for side in (height, width))
        self.norms = nn.ModuleList(
            normalization(config.normalization, config.channels, f"norm{i}") for i in range(config.layers)
        )
        self.head: nn.Module = nn.Identity()
        if outputs is not None:
            with torch.no_grad():
                features = self(inputs.zeros(2), Context()).shape[1]
            self.head = nn.Linear(features, outputs)

    def forward(self, inputs: Inputs, context: Context) -> Tensor:
        x, others = image_and_others(inputs, self.image)
        for block, norm in enumerate(self.norms):
            x = norm(self._convolved(x, block), context) if block else self._first(x, context)
            if self.modulation is not None and block == self.conditioned:
                scale, shift = self.modulation(self.context).view(2, -1, 1, 1)
                x = x * (1 + scale) + shift
            x = x.relu()
            if self.pool:
                x = F.max_pool2d(x, 2)
        x = x.mean((2, 3)) if self.mean else x.flatten(1)
        return self.head(x if others is None else torch.cat((x, others), 1))

    def _convolved(self, x: Tensor, block: int) -> Tensor:
        layer = self.layers[block]
        assert isinstance(layer, nn.Conv2d)
        if x.device.type in PRODUCTS:
            return convolved(x, layer.weight, layer.bias, self.get_buffer(f"places{block}"), layer.stride[0])
        made: Tensor = layer(x)
        return made

    def _first(self, x: Tensor, context: Context) -> Tensor:
        """The first convolution and its normalization: images have few channels, so that it is a small matrix product.

        As a convolution it would take a sixth of the time of all, for a twentieth of the arithmetic.
        """
        layer, norm = self.layers[0], self.norms[0]
        assert isinstance(layer, nn.Conv2d)
        if x.device.type in PRODUCTS:
            seen = patches(x, self.get_buffer("places0"))
        else:
            seen = F.unfold(x, 3, padding=1, stride=layer.stride)
        weight, size = layer.weight.flatten(1), [halved(length, layer.stride[0]) for length in x.shape[2:]]
        if layer.bias is None:
            made: Tensor = norm(seen, context, weight).unflatten(2, size)
        else:
            made = norm((weight @ seen + layer.bias[:, None]).unflatten(2, size), context)
        return made
