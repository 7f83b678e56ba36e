"""A user's own examples with their labels, as checked tensors."""

from typing import Any

import torch

from metarun.core.errors import UserError
from metarun.core.inputs import InputSpec, one_of
from metarun.core.kinds import TaskKind
from metarun.core.tasks import Examples


def examples(
    x: Any,
    y: Any,
    names: tuple[str, str],
    inputs: InputSpec,
    kind: TaskKind,
    dtype: torch.dtype,
    device: torch.device,
) -> Examples:
    """Labeled examples, at least one, as copies. ``names`` are what messages call x and y. Raises `UserError`."""
    given = inputs.tensors(x, names[0], dtype, device)
    labels = kind.label_array(y, names[1], dtype, device)
    rows = len(one_of(given))
    if rows != len(labels):
        raise UserError(f"{names[0]} has {rows} rows and {names[1]} {len(labels)}: one label for each input")
    return Examples(given, labels)
