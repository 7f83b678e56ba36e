"""A permutation-invariant encoder of the support set: the mean of encoded (x, y) pairs, encoded again.

Deep sets (Zaheer et al. 2017, theorem 2): e_t = rho(mean_i phi(x_i, y_i)).
"""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from metarun.config.fields import number
from metarun.kinds import TaskKind


@dataclass(kw_only=True)
class SupportEmbedding:
    size: int = number(least=1)
    hidden: int = number(least=1)

    def build(self, input_shape: tuple[int, ...], kind: TaskKind) -> nn.Module:
        return SetEncoder(self.size, self.hidden, input_shape, kind.outputs)


class SetEncoder(nn.Module):
    def __init__(self, size: int, hidden: int, input_shape: tuple[int, ...], label_size: int) -> None:
        super().__init__()
        self.features = image_features(input_shape[0], hidden) if len(input_shape) == 3 else nn.Flatten()
        width = hidden if len(input_shape) == 3 else prod(input_shape)
        self.pair = nn.Sequential(nn.Linear(width + label_size, hidden), nn.ReLU(), nn.Linear(hidden, hidden))
        self.whole = nn.Sequential(nn.ReLU(), nn.Linear(hidden, size))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        pairs = self.pair(torch.cat((self.features(x), y), dim=-1))
        return self.whole(pairs.mean(0))


def image_features(channels: int, hidden: int) -> nn.Module:
    """Three strided convolutions and a mean over space: ``[n, channels, h, w]`` to ``[n, hidden]``."""
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(hidden, hidden, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(hidden, hidden, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
