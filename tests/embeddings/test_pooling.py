"""Pooling of sets."""

import torch
from torch import nn

from metarun.embeddings.pooling import Attention, Mean


def test_mean_excludes_padding() -> None:
    items = torch.arange(12.0, dtype=torch.float64).view(4, 3)
    torch.testing.assert_close(Mean()(items, None), items.mean(0))
    torch.testing.assert_close(Mean()(items, torch.tensor([1.0, 0, 1, 0]).double()), items[[0, 2]].mean(0))


def test_attention_equals_pytorch() -> None:
    """With the same projections, and its learned queries for the projected query."""
    torch.manual_seed(0)
    pool, other = Attention(8, 2).double(), nn.MultiheadAttention(8, 2, batch_first=True).double()
    items, mask = torch.randn(5, 8).double(), torch.tensor([1.0, 1, 0, 1, 1]).double()
    with torch.no_grad():
        query, key, value = other.in_proj_weight.view(3, 8, 8)
        query.copy_(torch.eye(8))
        key.copy_(pool.keys.weight)
        value.copy_(pool.values.weight)
        other.in_proj_bias[16:] = pool.values.bias
        other.out_proj.weight.copy_(torch.eye(8))
        seed = pool.queries.view(1, 1, 8)
        theirs, weights = other(seed, items[None], items[None], mask[None] == 0, average_attn_weights=False)
        torch.testing.assert_close(pool(items, mask), theirs[0, 0])
        torch.testing.assert_close(pool.weights(items, mask), weights[0, :, 0])
