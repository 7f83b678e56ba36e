"""Finding the ink in drawings, and cutting squares around it."""

import torch
import torch.nn.functional as F
from torch import Tensor

_INK = 25  # of 255: fainter is the blurred edge of a stroke


def reach(drawings: Tensor) -> Tensor:
    """The longer side of the box around the ink, as a fraction of the drawing's side: uint8 ``[…, s, s]`` to ``[…]``.

    Ink is 255. A drawing without ink is a mistake of the caller.
    """
    (top, bottom), (left, right) = _extents(drawings)
    return torch.maximum(bottom - top, right - left)


def framed(drawings: Tensor, side: Tensor, size: int) -> Tensor:
    """The square of ``side`` (a fraction of the drawing's side) around the middle of the ink, at another size.

    drawings: uint8 ``[…, s, s]``; side: ``[…]``; result: float ``[…, size, size]``, outside the drawing 0.
    """
    (top, bottom), (left, right) = _extents(drawings)
    to_drawing = torch.zeros(*side.shape, 2, 3)
    to_drawing[..., 0, 0] = to_drawing[..., 1, 1] = side
    to_drawing[..., 0, 2], to_drawing[..., 1, 2] = left + right - 1, top + bottom - 1
    grid = F.affine_grid(to_drawing.view(-1, 2, 3), [side.numel(), 1, size, size], align_corners=False)
    source = drawings.reshape(side.numel(), 1, *drawings.shape[-2:]).float()
    return F.grid_sample(source, grid, align_corners=False).view(*side.shape, size, size)


def _extents(drawings: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """(top, bottom), (left, right) of the ink, as fractions of the drawing's side: ``[…]`` each."""
    ink = drawings > _INK
    return _extent(ink.any(-1)), _extent(ink.any(-2))


def _extent(ink: Tensor) -> tuple[Tensor, Tensor]:
    """First place with ink, and the place after the last, of rows ``[…, s]``, as fractions of s."""
    side = ink.shape[-1]
    places = torch.arange(side, dtype=torch.float)
    first = torch.where(ink, places, float(side)).amin(-1)
    return first / side, torch.where(ink, places + 1, 0.0).amax(-1) / side
