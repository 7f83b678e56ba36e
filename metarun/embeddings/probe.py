"""The network that `metarun.embeddings.fisher` measures tasks with."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from metarun.models.normalization import BatchStatistics, Context, Scaled


def probe_of(network: nn.Module) -> nn.Module:
    """A copy of a task model's network that makes features, whose examples can be looked at one by one."""
    probe = deepcopy(network)
    probe.head = nn.Identity()
    for parent in list(probe.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BatchStatistics):
                setattr(parent, name, HeldStatistics(child))
    return probe


class HeldStatistics(BatchStatistics):
    """Normalizes by the statistics of the first batch that a context meets, then by the same: they stay in it."""

    def __init__(self, like: BatchStatistics) -> None:
        super().__init__(len(like.weight), like.name)
        self.load_state_dict(like.state_dict())

    def normalized(
        self, scaled: Scaled, variance: Tensor, mean: Tensor, count: Tensor | int, context: Context
    ) -> Tensor:
        if self.name not in context.running:
            context.running[self.name] = torch.stack((variance, mean))
        variance, mean = context.running[self.name]
        return super().normalized(scaled, variance, mean, count, context)
