"""A last layer by angles instead of products (Chen et al. 2019, "A closer look at few-shot classification")."""

import torch
from torch import Tensor, nn

from metarun.algorithms.matching import unit

FEW, FEW_SCALE, MANY_SCALE = 200, 2.0, 10.0
"""The authors' code multiplies cosines by 2, among more than 200 classes by 10."""


class CosineHead(nn.Module):
    """Logits are a constant times the cosine of the features ``[n, features]`` and each class's weights."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty_like(linear.weight))
        with torch.no_grad():
            self.weight.copy_(linear.weight)

    def forward(self, features: Tensor) -> Tensor:
        scale = FEW_SCALE if len(self.weight) <= FEW else MANY_SCALE
        return scale * unit(features) @ unit(self.weight).T
