"""Attention weights: a masked softmax."""

import torch
from torch import Tensor


def attention(scores: Tensor, mask: Tensor) -> Tensor:
    """Masked softmax over the last axis of ``scores`` ``[..., s]``: rows with ``mask`` 0 have weight 0."""
    return torch.where(mask > 0, scores, float("-inf")).softmax(-1)
