"""A user's own numbers, NumPy arrays or tensors or lists of numbers, as checked tensors."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarun.core.errors import UserError


def floating(values: Any, name: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Finite numbers ``[n, *shape]``, n at least 1; of one number each, ``[n]`` will do. Raises `UserError`."""
    tensor = numbers(values, name)
    if shape == (1,) and tensor.dim() == 1:
        tensor = tensor[:, None]
    if tensor.dim() != len(shape) + 1 or tuple(tensor.shape[1:]) != shape:
        expected = ", ".join(("n", *map(str, shape)))
        raise UserError(f"{name} has shape {tuple(tensor.shape)}, where ({expected}) is expected")
    _refuse_none(tensor, name)
    tensor = tensor.to(device, dtype, copy=True)
    odd = ~tensor.flatten(1).isfinite().all(1)
    if odd.any():
        row = int(odd.nonzero()[0])
        raise UserError(f"{name} holds a value that is not finite as {str(dtype).removeprefix('torch.')} (row {row})")
    return tensor


def class_numbers(values: Any, name: str, ways: int, device: torch.device) -> Tensor:
    """Class numbers ``[n]``, int64, below ``ways``, at least one. Raises `UserError`."""
    tensor = numbers(values, name)
    if tensor.is_floating_point() or tensor.dtype == torch.bool:
        raise UserError(f"{name} holds {_told(tensor)}, where class numbers (whole, of an integer type) are expected")
    if tensor.dim() != 1:
        raise UserError(f"{name} has shape {tuple(tensor.shape)}, where (n) class numbers are expected")
    _refuse_none(tensor, name)
    lowest, highest = int(tensor.min()), int(tensor.max())
    if lowest < 0 or highest >= ways:
        odd = lowest if lowest < 0 else highest
        raise UserError(f"{name} holds class {odd}; there are {ways} classes, 0 to {ways - 1}")
    return tensor.to(device, torch.int64, copy=True)


def numbers(values: Any, name: str) -> Tensor:
    """Real numbers of whatever type, NaN among them. Raises `UserError`."""
    if isinstance(values, Tensor):
        tensor = values.detach()
        if tensor.is_complex():
            raise UserError(f"{name} holds {_told(tensor)}, where real numbers are expected")
        return tensor
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise UserError(f"{name} is not an array of numbers: {error}") from error
    if array.dtype.kind not in "biuf":
        raise UserError(f"{name} holds values of type {array.dtype}, where real numbers are expected")
    # PyTorch knows neither all of NumPy's number types nor steps backwards.
    plain = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}[array.dtype.kind]
    return torch.from_numpy(np.array(array, dtype=plain))


def _refuse_none(tensor: Tensor, name: str) -> None:
    if not len(tensor):
        raise UserError(f"{name} is empty; give at least one example")


def _told(tensor: Tensor) -> str:
    return f"values of type {str(tensor.dtype).removeprefix('torch.')}"
