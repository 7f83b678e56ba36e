"""Linear systems over named tensors."""

from collections.abc import Callable

import torch
from torch import Tensor

from metarun.models.base import Parameters


def conjugate_gradients(system: Callable[[Parameters], Parameters], wanted: Parameters, steps: int) -> Parameters:
    """x after so many steps from 0 towards system(x) = ``wanted``, a symmetric positive definite system.

    Hestenes & Stiefel 1952. Once the residual vanishes nothing moves any more.
    """
    solution = {name: torch.zeros_like(part) for name, part in wanted.items()}
    residual = direction = wanted
    squared = dot(residual, residual)
    for _ in range(steps):
        image = system(direction)
        length = ratio(squared, dot(direction, image))
        solution = {name: part + length * direction[name] for name, part in solution.items()}
        residual = {name: part - length * image[name] for name, part in residual.items()}
        before, squared = squared, dot(residual, residual)
        turn = ratio(squared, before)
        direction = {name: part + turn * direction[name] for name, part in residual.items()}
    return solution


def dot(one: Parameters, other: Parameters) -> Tensor:
    """Inner product over all tensors."""
    return torch.stack([(part * other[name]).sum() for name, part in one.items()]).sum()


def ratio(above: Tensor, below: Tensor) -> Tensor:
    """``above / below``, 0 where ``below`` is 0."""
    positive = below != 0
    return torch.where(positive, above / torch.where(positive, below, 1.0), 0.0)
