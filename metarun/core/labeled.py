"""A user's own examples with their labels, as checked tensors."""

from typing import Any

import torch

from metarun.core.arrays import floating
from metarun.core.errors import UserError
from metarun.core.kinds import TaskKind
from metarun.core.tasks import Examples


def examples(
    x: Any,
    y: Any,
    names: tuple[str, str],
    input_shape: tuple[int, ...],
    kind: TaskKind,
    dtype: torch.dtype,
    device: torch.device,
) -> Examples:
    """Labeled examples, at least one, as copies. ``names`` are what messages call x and y. Raises `UserError`."""
    inputs = floating(x, names[0], input_shape, dtype, device)
    labels = kind.label_array(y, names[1], dtype, device)
    if len(inputs) != len(labels):
        raise UserError(f"{names[0]} has {len(inputs)} rows and {names[1]} {len(labels)}: one label for each input")
    return Examples(inputs, labels)
