"""Pooling of the encoded items of a set to one vector of the same width: a mean, or one weighted mean per head.

Neither order nor multiplicity of the items matters, and a padding item (``mask`` 0) has weight 0 exactly.
"""

from math import sqrt

import torch
from torch import Tensor, nn


class Mean(nn.Module):
    """Every item weighs the same: deep sets (Zaheer et al. 2017)."""

    def weights(self, items: Tensor, mask: Tensor | None) -> Tensor:
        """``[1, n]`` for items ``[n, width]``."""
        equal = torch.ones_like(items[:, 0]) if mask is None else mask
        return (equal / equal.sum())[None]

    def forward(self, items: Tensor, mask: Tensor | None) -> Tensor:
        return (self.weights(items, mask) @ items)[0]


class Attention(nn.Module):
    """Multihead attention by learned queries (Lee et al. 2019, "Set transformer", section 3.2, with one seed)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(heads, width // heads))
        self.keys = nn.Linear(width, width, bias=False)  # a softmax does not see what all its scores share
        self.values = nn.Linear(width, width)

    def weights(self, items: Tensor, mask: Tensor | None) -> Tensor:
        """``[heads, n]``, each row summing to 1, for items ``[n, width]``."""
        scores = torch.einsum("hd,nhd->hn", self.queries, self._split(self.keys(items)))
        if mask is not None:
            scores = torch.where(mask > 0, scores, float("-inf"))
        return (scores / sqrt(self.queries.shape[1])).softmax(-1)

    def forward(self, items: Tensor, mask: Tensor | None) -> Tensor:
        return torch.einsum("hn,nhd->hd", self.weights(items, mask), self._split(self.values(items))).flatten()

    def _split(self, items: Tensor) -> Tensor:
        """``[n, width]`` to ``[n, heads, width / heads]``."""
        return items.unflatten(1, self.queries.shape)
