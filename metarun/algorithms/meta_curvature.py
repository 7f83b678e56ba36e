"""Meta-curvature (Park & Oliva 2019, "Meta-curvature"): a learned preconditioner of the inner gradient."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metarun.algorithms.maml import MAML
from metarun.datasets.base import Problem
from metarun.models.base import Parameters

AXES = ("outputs", "inputs", "places")
"""Axes of a gradient ``[outputs, inputs, places]`` that have a matrix each; places are those of a kernel."""


@dataclass(kw_only=True)
class MetaCurvature(MAML):
    """θ' = θ − α MC(∇L_S(θ)), MC multiplying a tensor's gradient by a learned matrix along each axis (equation 8).

    The matrices are part of φ and start at the identity, where it is MAML.
    """

    def parameters(self, theta: Parameters, problem: Problem) -> Parameters:
        return super().parameters(theta, problem) | {
            f"{name}.{axis}": torch.eye(size, dtype=tensor.dtype)
            for name, tensor in theta.items()
            if self.adapts(name)
            for axis, size in zip(AXES, as_axes(tensor).shape, strict=True)
            if size > 1
        }

    def direction(self, params: Parameters, gradient: Parameters, theta: Parameters, start: Parameters) -> Parameters:
        gradient = super().direction(params, gradient, theta, start)
        return {name: self._curved(params, name, tensor) for name, tensor in gradient.items()}

    def _curved(self, params: Parameters, name: str, gradient: Tensor) -> Tensor:
        curved = as_axes(gradient)
        for axis, letters in zip(AXES, ("oip,ok->kip", "oip,ik->okp", "oip,pk->oik"), strict=True):
            if f"{name}.{axis}" in params:
                curved = torch.einsum(letters, curved, params[f"{name}.{axis}"])
        return curved.reshape(gradient.shape)


def as_axes(tensor: Tensor) -> Tensor:
    """A tensor of θ as ``[outputs, inputs, places]``."""
    outputs, inputs = [*tensor.shape, 1][:2]
    return tensor.reshape(outputs, inputs, -1)
