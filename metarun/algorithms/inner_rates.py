"""Step sizes of the inner loop: one, or many of them, that the outer loop may learn."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metarun.config.fields import choice
from metarun.models.base import Parameters

PREFIX = "rate."
"""How the names of step sizes begin, among an algorithm's own meta-parameters."""


@dataclass(kw_only=True)
class InnerRates:
    """How many step sizes there are, and whether they are meta-parameters.

    per: one for ``all`` parameters, one a ``layer`` (a normalisation is one of its own), or one a ``parameter``, that
        is for every number of θ, as in Meta-SGD (Li et al. 2017).
    each_step: others for every inner step; steps beyond those of the training use the last. With ``layer`` these are
        MAML++'s (Antoniou et al. 2019, section 4).
    learned: whether the outer loop moves them; else they stay where they start.
    """

    per: str = choice("all", "layer", "parameter")
    each_step: bool
    learned: bool

    def initial(self, start: list[float], theta: Parameters, steps: int) -> Parameters:
        """Step sizes for the tensors ``theta`` that the inner loop moves, uniformly between the two of ``start``."""
        low, high = start
        leading = (max(steps, 1),) if self.each_step else ()
        like = {self._key(name): tensor for name, tensor in theta.items()}
        return {
            key: low + (high - low) * torch.rand((*leading, *self._shape(tensor)), dtype=tensor.dtype)
            for key, tensor in like.items()
        }

    def rate(self, own: Parameters, name: str, step: int) -> Tensor:
        """The step size of a tensor of θ in inner step ``step`` (from 0)."""
        rate = own[self._key(name)] if self.learned else own[self._key(name)].detach()
        return rate[min(step, len(rate) - 1)] if self.each_step else rate

    def _key(self, name: str) -> str:
        keys = {"all": "all", "layer": name.rpartition(".")[0], "parameter": name}
        return PREFIX + keys[self.per]

    def _shape(self, tensor: Tensor) -> tuple[int, ...]:
        return tuple(tensor.shape) if self.per == "parameter" else ()
