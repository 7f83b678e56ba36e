"""A permutation-invariant encoder of the support set: encoded (x, y) pairs, pooled and encoded again.

Deep sets (Zaheer et al. 2017, theorem 2): e_t = rho(pool_i phi(x_i, y_i)), pools being in `metarun.embeddings.pooling`.
"""

from dataclasses import dataclass
from math import gcd, prod

import torch
from torch import Tensor, nn

from metarun.core.errors import UserError
from metarun.core.fields import choice, number
from metarun.core.inputs import Inputs, InputSpec, flat, image_and_others
from metarun.datasets.base import Problem
from metarun.embeddings.base import Embedding, EmbeddingInputs, Fit
from metarun.embeddings.pooling import Attention, Mean
from metarun.models.base import TaskModel


@dataclass(kw_only=True)
class SupportEmbedding:
    size: int = number(least=1, most=1_000_000)
    hidden: int = number(least=1, most=1_000_000)
    pooling: str = choice("mean", "attention")
    heads: int = number(least=1, most=1_000_000)
    reads_labels = True
    knows_tasks = False

    def build(self, problem: Problem, model: TaskModel) -> Embedding:
        if self.pooling == "attention" and self.hidden % self.heads:
            raise UserError(
                f"embedding.heads={self.heads}: must divide embedding.hidden={self.hidden}; "
                f"set embedding.heads={gcd(self.heads, self.hidden)}, or embedding.hidden to a multiple of the heads"
            )
        return SetEncoder(self, problem.inputs, model.kind.targets)


class SetEncoder(Embedding):
    def __init__(self, config: SupportEmbedding, inputs: InputSpec, label_size: int) -> None:
        super().__init__()
        hidden = config.hidden
        self.image = inputs.images[0] if len(inputs.images) == 1 else None
        width = inputs.size
        if self.image is not None:
            shape = dict(inputs.parts)[self.image].shape
            self.features = image_features(shape[0], hidden)
            width += hidden - prod(shape)
        self.pair = nn.Sequential(nn.Linear(width + label_size, hidden), nn.ReLU(), nn.Linear(hidden, hidden))
        self.pool = Attention(hidden, config.heads) if config.pooling == "attention" else Mean()
        self.whole = nn.Sequential(nn.ReLU(), nn.Linear(hidden, config.size))

    def forward(self, seen: EmbeddingInputs, fit: Fit, testing: bool) -> Tensor:
        return self.whole(self.pool(self._pairs(seen), seen.support.mask))

    def weights(self, seen: EmbeddingInputs) -> Tensor:
        """How much each support example counts, ``[heads, s]``, each row summing to 1; one row for mean pooling."""
        return self.pool.weights(self._pairs(seen), seen.support.mask)

    def _pairs(self, seen: EmbeddingInputs) -> Tensor:
        return self.pair(torch.cat((self._features(seen.support.x), seen.labels), dim=-1))

    def _features(self, x: Inputs) -> Tensor:
        """``[s, width]``: of an image those that convolutions make, of all else the numbers themselves."""
        if self.image is None:
            return flat(x)
        image, others = image_and_others(x, self.image)
        features: Tensor = self.features(image)
        return features if others is None else torch.cat((features, others), 1)


def image_features(channels: int, hidden: int) -> nn.Module:
    """Three strided convolutions and a mean over space: ``[n, channels, h, w]`` to ``[n, hidden]``."""
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(hidden, hidden, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(hidden, hidden, 3, stride=2, padding=1),
        nn.ReLU(),
        SpatialMean(),
    )


class SpatialMean(nn.Module):
    """``[n, channels, h, w]`` to ``[n, channels]``.

    Not `torch.nn.AdaptiveAvgPool2d`: for images in channels-last order it sets strides in place, which
    `torch.func.vmap` cannot batch, so that it warns and computes task by task.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((-2, -1))
