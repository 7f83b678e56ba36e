"""Meta-SGD (Li et al. 2017, "Meta-SGD: learning to learn quickly for few-shot learning")."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metarun.algorithms.gradient_based import Unrolled
from metarun.errors import UserError
from metarun.models.base import Parameters


@dataclass(kw_only=True)
class MetaSGD(Unrolled):
    """θ' = θ − α ∘ ∇L_S(θ) (equation 2), with a step size α for every parameter, meta-learned beside θ.

    α starts uniformly in ``inner_lr_range``; with ``learn_inner_lr=false`` it stays there.
    """

    inner_lr_range: list[float]
    learn_inner_lr: bool

    def __post_init__(self) -> None:
        if len(self.inner_lr_range) != 2 or not 0 < self.inner_lr_range[0] <= self.inner_lr_range[1]:
            raise UserError(
                f"algorithm.inner_lr_range={self.inner_lr_range}: give two positive numbers, the smaller first"
            )

    @property
    def held(self) -> bool:
        return not self.learn_inner_lr

    def parameters(self, theta: Parameters) -> Parameters:
        low, high = self.inner_lr_range
        return {n: low + (high - low) * torch.rand_like(t) for n, t in theta.items() if self.adapts(n)}

    def rate(self, own: Parameters, name: str) -> Tensor:
        return own[name] if self.learn_inner_lr else own[name].detach()
