"""How much each support example counts: a softmax over those that are any."""

import torch
from torch import Tensor


def attention(scores: Tensor, real: Tensor) -> Tensor:
    """Weights like ``scores`` ``[..., s]``, each row summing to 1; a row that is no example (``real`` 0) has 0."""
    return torch.where(real > 0, scores, float("-inf")).softmax(-1)
