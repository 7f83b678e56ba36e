"""Solvers of linear systems over named tensors, for the implicit gradient.

Each is a fixed number of products with the system and has no data-dependent control flow, so that `torch.func.vmap` and
`torch.compile` take it: a solver that has to stop early keeps its result from there on by masks.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from metarun.models.base import Parameters

System = Callable[[Parameters], Parameters]
"""The product of a symmetric matrix with a vector."""


def conjugate_gradients(system: System, wanted: Parameters, steps: int) -> Parameters:
    """Approximate x with system(x) = ``wanted``: at most ``steps`` conjugate gradient steps from 0.

    Hestenes & Stiefel 1952. The system should be positive definite. Where it is not, the solver stops at the first
    direction d with dᵀ system(d) ≤ 0 and returns the iterate before it; if that is the very first direction, which is
    ``wanted``, the result is ``wanted`` itself (truncated Newton, Nocedal & Wright 2006, algorithm 7.1). Once the
    residual is 0 nothing changes any more.
    """
    solution = {name: torch.zeros_like(part) for name, part in wanted.items()}
    residual = direction = wanted
    squared = dot(residual, residual)
    going = squared > 0
    for step in range(steps):
        image = system(direction)
        bend = dot(direction, image)
        if step == 0:
            # Not a number counts as "not positive" here, and 0 as the solution for a ``wanted`` of 0.
            solution = {name: torch.where(bend > 0, part, wanted[name]) for name, part in solution.items()}
        going = going & (bend > 0)
        length = torch.where(going, squared / torch.where(going, bend, 1.0), 0.0)
        solution = {name: part + length * direction[name] for name, part in solution.items()}
        residual = {name: part - length * image[name] for name, part in residual.items()}
        before, squared = squared, dot(residual, residual)
        going = going & (squared > 0)
        turn = torch.where(going, squared / torch.where(going, before, 1.0), 0.0)
        direction = {name: part + turn * direction[name] for name, part in residual.items()}
    return solution


def neumann_series(system: System, wanted: Parameters, steps: int, rate: float) -> Parameters:
    """Approximate x with system(x) = ``wanted``: ``steps`` steps x ← x + rate (wanted − system(x)) from ``wanted``.

    The truncated Neumann series of (rate · system)⁻¹ (Lorraine et al. 2020, "Optimizing millions of hyperparameters by
    implicit differentiation"). It converges if and only if every eigenvalue of the system lies in (0, 2/rate).
    """
    solution = wanted
    for _ in range(steps):
        image = system(solution)
        solution = {name: part + rate * (wanted[name] - image[name]) for name, part in solution.items()}
    return solution


def dot(one: Parameters, other: Parameters) -> Tensor:
    """Inner product over all tensors."""
    return torch.stack([(part * other[name]).sum() for name, part in one.items()]).sum()
