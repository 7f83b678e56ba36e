"""Variance without cancellation: counts, means and centered sums of squares, which merge exactly.

Σy² - (Σy)²/n loses all digits if the mean is large compared to the spread. Chan, Golub & LeVeque (1983, "Algorithms for
computing the sample variance") merge the centered sums of parts instead.
"""

from typing import NamedTuple

import torch
from torch import Tensor

ROUNDING = 16 * torch.finfo(torch.float64).eps
"""Relative error of a computed mean: a deviation this small compared to the mean may be nothing but rounding."""


class Moments(NamedTuple):
    """Of numbers in float64. rows: how many; mean: theirs; squares: the sum of (number - mean)²."""

    rows: Tensor
    mean: Tensor
    squares: Tensor

    @property
    def constant(self) -> Tensor:
        """Whether all numbers are equal up to float64 rounding."""
        return self.squares <= self.rows * (ROUNDING * self.mean).square()


def moments(values: Tensor, weight: Tensor) -> Moments:
    """Of the rows of ``values`` ``[n, ...]``, in two passes; ``weight`` ``[n]``: 1 for rows that count, else 0."""
    spread = weight.double().view(-1, *[1] * (values.dim() - 1))
    exact = values.double()
    count = spread.sum(0).expand(exact.shape[1:])
    mean = (spread * exact).sum(0) / count.clamp(min=1)
    return Moments(count, mean, (spread * (exact - mean).square()).sum(0))


def merged(parts: Moments) -> Moments:
    """Of all parts together: ``parts`` has one part in each row, ``[parts, ...]``."""
    count = parts.rows.sum(0)
    mean = (parts.rows * parts.mean).sum(0) / count.clamp(min=1)
    between = parts.rows * (parts.mean - mean).square()
    return Moments(count, mean, (parts.squares + between).sum(0))
