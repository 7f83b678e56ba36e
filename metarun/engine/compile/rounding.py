"""Whether two computations of the same numbers differ by more than rounding."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, isfinite, sqrt
from statistics import median

import torch
from torch import Tensor

from metarun.learner.learner import MetaParameters

ROOM = 4.0
"""How many times as far from float64 as the eager computation in the run's precision a compiled one may be."""
NOISE = 32.0
"""Rounding errors of the group's norm that any of its tensors may be off by: gradients that are zero but for rounding,
such as those of biases before a normalization, have no accuracy relative to themselves."""
FLOOR = 2.0
"""The same of the whole gradient's norm."""

Norms = dict[tuple[str, ...], float]
"""Norms by part: ``()`` the whole gradient, ``(group,)``, ``(group, name)``."""


@dataclass(frozen=True)
class Excess:
    """A part of a meta-gradient that differs by more than is allowed; both numbers relative to its norm."""

    part: tuple[str, ...]
    difference: float
    allowed: float

    def __str__(self) -> str:
        where = " of ".join(reversed(self.part)) or "φ"
        return f"{self.difference:.1e} of its norm in {where}, where {self.allowed:.1e} is rounding"


@dataclass(frozen=True)
class Yardstick:
    """How far rounding takes each part of a meta-gradient, relative to its norm.

    epsilon: the rounding unit of the run's arithmetic.
    """

    relative: Norms
    epsilon: float

    @classmethod
    def measured(cls, rounded: list[MetaParameters], exact: MetaParameters, epsilon: float) -> "Yardstick":
        """From gradients in the run's precision, and the same gradient in float64."""
        size = norms(exact)
        distances = [norms(exact, other) for other in rounded]
        relative = {part: max(each[part] for each in distances) / size[part] if size[part] else 0.0 for part in size}
        return cls(relative, epsilon)

    @classmethod
    def given(cls, tolerance: float, exact: MetaParameters) -> "Yardstick":
        """The same for every part; nothing is added to it."""
        return cls(dict.fromkeys(norms(exact), tolerance / ROOM), torch.finfo(torch.float64).eps)

    def excess(self, found: MetaParameters, wanted: MetaParameters) -> Excess | None:
        """The part of ``found`` with the largest difference beyond rounding, or ``None``."""
        size, apart = norms(wanted), norms(wanted, found)
        usual = median([value for part, value in self.relative.items() if len(part) == 2 and size[part]] or [0.0])
        worst, found_excess = 1.0, None
        for part, difference in apart.items():
            noise = self.epsilon * (NOISE * size[part[:1]] + FLOOR * size[()])
            allowed = ROOM * (max(self.relative[part], usual) * size[part] + noise)
            if not isfinite(difference) or difference > worst * allowed:
                worst = difference / allowed if isfinite(difference) and allowed else inf
                scale = size[part] or 1.0
                found_excess = Excess(part, difference / scale, allowed / scale)
        return found_excess


def norms(gradient: MetaParameters, other: MetaParameters | None = None) -> Norms:
    """Norms of a gradient's parts, or of the differences from another gradient."""
    tensors = list(_tensors(gradient))
    if not tensors:
        return {(): 0.0}
    values = [tensor if other is None else tensor - other[place[0]][place[1]] for place, tensor in tensors]
    squares = torch.stack([value.square().sum() for value in values]).tolist()  # waits for the device once
    found: Norms = {(): 0.0}
    for (place, _), square in zip(tensors, squares, strict=True):
        for part in ((), place[:1], place):
            found[part] = found.get(part, 0.0) + square
    return {part: sqrt(square) if square == square else inf for part, square in found.items()}


def _tensors(gradient: MetaParameters) -> Iterator[tuple[tuple[str, str], Tensor]]:
    for group, tensors in gradient.items():
        for name, tensor in tensors.items():
            yield (group, name), tensor.double()
