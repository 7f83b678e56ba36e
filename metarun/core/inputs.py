"""Inputs x: a tensor, or several named tensors, some of them optional."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from metarun.core.arrays import floating, numbers
from metarun.core.errors import UserError

Inputs = Tensor | dict[str, Tensor]
"""n inputs: ``[n, *shape]``, or by name. An optional part ``name`` has zeros where it is missing, and another entry
`presence`, ``[n]``, that is 1 where it is there and 0 where not. All are floating, in the run's precision."""
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Input:
    """One part. shape: of a single example. optional: whether an example may lack it."""

    shape: Shape
    optional: bool = False


def presence(name: str) -> str:
    """The entry of `Inputs` that says where the part of this name is there."""
    return f"{name}.present"


@dataclass(frozen=True)
class InputSpec:
    """The parts of an input, by name; a single part without a name where x is a tensor."""

    parts: tuple[tuple[str, Input], ...]

    @classmethod
    def of(cls, shape: "Shape | Mapping[str, Shape | Input]") -> "InputSpec":
        """From the shape of one input, or the shapes of its parts by name."""
        if not isinstance(shape, Mapping):
            return cls((("", Input(tuple(shape))),))
        parts = {name: part if isinstance(part, Input) else Input(tuple(part)) for name, part in shape.items()}
        return cls(tuple(sorted(parts.items())))

    @property
    def plain(self) -> bool:
        """Whether x is a tensor."""
        return self.parts[0][0] == ""

    @property
    def shape(self) -> "Shape | dict[str, Shape]":
        """Of one input x, or of its parts by name."""
        return self.parts[0][1].shape if self.plain else {name: part.shape for name, part in self.parts}

    @property
    def size(self) -> int:
        """Length of one input as `flat` returns it."""
        return sum(prod(part.shape) + part.optional for _, part in self.parts)

    @property
    def images(self) -> list[str]:
        """Names of the parts that are images, ``[channels, height, width]``."""
        return [name for name, part in self.parts if len(part.shape) == 3]

    def zeros(self, n: int) -> Inputs:
        """A batch of n zero inputs with no missing parts."""
        made = {name: torch.zeros(n, *part.shape) for name, part in self.parts}
        made |= {presence(name): torch.ones(n) for name, part in self.parts if part.optional}
        return made[""] if self.plain else made

    def tensors(self, values: Any, name: str, dtype: torch.dtype, device: torch.device) -> Inputs:
        """Check and copy a user's inputs, at least one. Raises `UserError`.

        In an optional part, rows of NaN count as missing; the whole part may be left out. name: for messages.
        """
        if self.plain:
            return floating(values, name, self.parts[0][1].shape, dtype, device)
        known = dict(self.parts)
        if not isinstance(values, Mapping):
            raise UserError(f"{name} is not a dictionary of inputs by name ({', '.join(known)})")
        if unknown := sorted(map(str, values.keys() - known.keys())):
            raise UserError(f"{name} has '{unknown[0]}', which is not among its parts ({', '.join(known)})")
        needed = [part for part in known if not known[part].optional or part in values]
        if lacking := [part for part in needed if part not in values]:
            raise UserError(f"{name} lacks '{lacking[0]}'")
        made: dict[str, Tensor] = {}
        for part in needed:
            place = f"{name}[{part!r}]"
            if known[part].optional:
                made[part], made[presence(part)] = _with_gaps(values[part], place, known[part].shape, dtype, device)
            else:
                made[part] = floating(values[part], place, known[part].shape, dtype, device)
        counts = {part: len(made[part]) for part in needed}
        if len(set(counts.values())) != 1:
            raise UserError(f"{name} has different numbers of rows: {', '.join(f'{p} {n}' for p, n in counts.items())}")
        rows = next(iter(counts.values()))
        for part in known.keys() - set(needed):
            made[part] = torch.zeros(rows, *known[part].shape, dtype=dtype, device=device)
            made[presence(part)] = torch.zeros(rows, dtype=dtype, device=device)
        return dict(sorted(made.items()))

    def fits(self, x: Any, axes: int) -> bool:
        """Whether ``x`` has these parts, with ``axes`` leading batch dimensions."""
        wanted = self.zeros(1)
        if isinstance(x, Tensor) or isinstance(wanted, Tensor):
            return isinstance(x, Tensor) and isinstance(wanted, Tensor) and x.shape[axes:] == wanted.shape[1:]
        return x.keys() == wanted.keys() and all(x[name].shape[axes:] == wanted[name].shape[1:] for name in wanted)


def _with_gaps(values: Any, name: str, shape: Shape, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Values with all-NaN rows set to zero, and a mask of the other rows, ``[n]``."""
    rows = numbers(values, name)
    gone = rows.isnan() if rows.dim() < 2 else rows.flatten(1).isnan().all(1)
    filled = torch.where(gone.view(-1, *[1] * (rows.dim() - 1)), torch.zeros((), dtype=rows.dtype), rows)
    return floating(filled, name, shape, dtype, device), (~gone).to(device, dtype)


def flat(x: Inputs) -> Tensor:
    """Flatten each input to a vector, ``[n, size]``: its parts sorted by name."""
    if isinstance(x, Tensor):
        return x.flatten(1)
    return torch.cat([x[name].view(len(x[name]), -1) for name in sorted(x)], 1)


def image_and_others(x: Inputs, image: str) -> tuple[Tensor, Tensor | None]:
    """The named image, and all other parts flattened by `flat`, or ``None`` if there are no others."""
    if isinstance(x, Tensor):
        return x, None
    others = {name: part for name, part in x.items() if name != image}
    return x[image], flat(others) if others else None


def one_of(x: Inputs) -> Tensor:
    """One of the tensors, for its dtype, device and number of rows."""
    tensor: Tensor = tree_leaves(x)[0]
    return tensor


def rows_of(x: Inputs, picked: Tensor | slice | int) -> Inputs:
    """Select rows of every part."""
    chosen: Inputs = tree_map(lambda tensor: tensor[picked], x)
    return chosen


def concatenated(first: Inputs, second: Inputs) -> Inputs:
    """Concatenate two batches of inputs along the first dimension."""
    both: Inputs = tree_map(lambda one, other: torch.cat((one, other)), first, second)
    return both
