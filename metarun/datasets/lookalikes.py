"""Detection of letters that look the same."""

import torch
import torch.nn.functional as F
from torch import Tensor

from metarun.datasets.cropping import framed, reach

_SIDE = 24


def likeness(drawings: Tensor) -> Tensor:
    """How alike letters are, whatever their size and place: ``[letters, letters]``, 1 for the same shape.

    The cosine between their pictures, cut to the square around the ink and brought to one size, mean over the faces.
    drawings: uint8 ``[letters, faces, side, side]``, ink 255.
    """
    pictures = F.normalize(framed(drawings, reach(drawings), _SIDE).flatten(2), dim=-1)
    return torch.einsum("ifp,jfp->ij", pictures, pictures) / drawings.shape[1]


def distinct(alike: Tensor, bound: float) -> list[int]:
    """The letters to keep: taken in order, each unless its likeness to one already kept is ``bound`` or more."""
    clash = alike >= bound
    kept: list[int] = []
    for letter in range(len(alike)):
        if not clash[letter, kept].any():
            kept.append(letter)
    return kept
