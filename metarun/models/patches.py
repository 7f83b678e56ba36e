"""3x3 convolutions with padding 1 as products of matrices.

Where every task has weights of its own, the libraries of GPUs compute the gradients of a convolution task by task; a
product of matrices is computed for all tasks at once.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def halved(length: int, stride: int) -> int:
    """What is left of a side."""
    return -(-length // stride)


def places(height: int, width: int, stride: int) -> Tensor:
    """Where the pixels of all patches lie in a padded image, int64 ``[9 · H' · W']``: place in a patch, then patch."""
    padded = width + 2
    corners = torch.arange(0, height, stride)[:, None] * padded + torch.arange(0, width, stride)
    within = torch.arange(3)[:, None] * padded + torch.arange(3)
    return (within.reshape(-1, 1) + corners.reshape(1, -1)).flatten()


def patches(x: Tensor, at: Tensor) -> Tensor:
    """The patches ``[B, 9 C, H' · W']`` of images ``[B, C, H, W]``, as `torch.nn.functional.unfold` orders them.

    A gather and, for its gradient, a scatter: `unfold` takes one launch for each image.
    """
    gathered = F.pad(x, (1, 1, 1, 1)).flatten(2).index_select(2, at)
    return gathered.unflatten(2, (9, -1)).flatten(1, 2)


def convolved(x: Tensor, weight: Tensor, bias: Tensor | None, at: Tensor, stride: int) -> Tensor:
    """What `torch.nn.functional.conv2d` makes of images ``[B, C, H, W]`` and ``weight`` ``[C', C, 3, 3]``."""
    size = len(x), *(halved(length, stride) for length in x.shape[2:])
    columns = patches(x, at).transpose(0, 1).flatten(1)
    made = (weight.flatten(1) @ columns).unflatten(1, size).transpose(0, 1)
    return made if bias is None else made + bias[:, None, None]
