"""Images of many classes in one block of memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Bank:
    """Images class after class: those of class c are rows ``first[c]`` to ``first[c] + count[c] - 1``.

    images: uint8 ``[M, C, H, W]``; count and first: int64 ``[classes]``; names: one for each class.
    """

    images: Tensor
    count: Tensor
    names: tuple[str, ...]
    first: Tensor

    @classmethod
    def of(cls, images: Tensor, count: Tensor, names: Sequence[str]) -> "Bank":
        """A bank of ``images`` that lie class after class, ``count`` of each. Raises `ValueError` if they disagree."""
        if images.dtype != torch.uint8 or images.dim() != 4 or count.dtype != torch.int64:
            raise ValueError("a bank needs uint8 images [M, C, H, W] and int64 counts")
        if int(count.sum()) != len(images) or count.shape != (len(names),):
            raise ValueError(f"{len(images)} images and {len(names)} names do not fit counts {count.tolist()}")
        return cls(images, count, tuple(names), count.cumsum(0) - count)

    def select(self, classes: Sequence[int]) -> "Bank":
        """The bank of some classes, in the order given."""
        spans = [range(int(self.first[c]), int(self.first[c] + self.count[c])) for c in classes]
        rows = torch.tensor([row for span in spans for row in span], dtype=torch.int64)
        return Bank.of(self.images[rows], self.count[list(classes)], [self.names[c] for c in classes])

    def rotated(self) -> "Bank":
        """Every class four times: turned by 0, 90, 180 and 270 degrees counter-clockwise, each turn a class of its own.

        The names gain ``/rot000`` to ``/rot270``. The images must be square.
        """
        turns = [torch.rot90(self.images, quarter, (2, 3)) for quarter in range(4)]
        names = [f"{name}/rot{90 * quarter:03}" for quarter in range(4) for name in self.names]
        return Bank.of(torch.cat(turns), self.count.repeat(4), names)

    def to(self, device: torch.device) -> "Bank":
        """The bank on a device."""
        return Bank(self.images.to(device), self.count.to(device), self.names, self.first.to(device))
