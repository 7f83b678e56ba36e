"""Step sizes of the inner loop: one, or many of them, that the outer loop may learn."""

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from metarun.core.errors import UserError
from metarun.core.fields import choice, number
from metarun.models.base import Parameters

PREFIX = "rate."
"""How the names of step sizes begin, among an algorithm's own meta-parameters."""


@dataclass(kw_only=True)
class InnerRates:
    """How many step sizes there are, and whether they are meta-parameters.

    per: one for ``all`` parameters, one a ``layer`` (each normalization counts as one), one a ``tensor`` (weights and
        biases apart), or one a ``parameter``, that is for every number of θ, as in Meta-SGD (Li et al. 2017).
    each_step: others for every inner step; steps beyond those of the training use the last. With ``layer`` these are
        those of the paper on MAML++ (Antoniou et al. 2019, section 4), with ``tensor`` those of its authors' code.
    learned: whether the outer loop moves them; else they stay where they start.
    scale: what the outer loop moves, the step sizes (``linear``), their logarithms (``log``), or their ratios to where
        they start (``relative``; to the upper end, where they start in a range). Adam's steps are of about its own step
        size whatever the scale of a parameter: with ``linear``, 0.001 a meta-update is a tenth of a step size of 0.01.
        With ``log`` it is a thousandth of any, and step sizes stay positive. With ``relative`` it is a thousandth of
        the initial one, and they may become negative.
    least, most: bounds of learned step sizes, into which each meta-update brings them back; ``None``: none.
    """

    per: str = choice("all", "layer", "tensor", "parameter")
    each_step: bool
    learned: bool
    scale: str = choice("linear", "log", "relative")
    least: float | None
    most: float | None = number(above=0)

    def __post_init__(self) -> None:
        least, most = self.least, self.most
        if least is not None and most is not None and least >= most:
            raise UserError(f"algorithm.rates.least={least:g}: must be below algorithm.rates.most={most:g}")
        if self.logarithmic and least is not None and least <= 0:
            raise UserError(
                f"algorithm.rates.least={least:g}: with algorithm.rates.scale=log step sizes are positive; give a "
                "positive number, or null"
            )

    @property
    def logarithmic(self) -> bool:
        """Whether the meta-parameters are logarithms of step sizes."""
        return self.learned and self.scale == "log"

    def unit(self, highest: float) -> float:
        """What a meta-parameter of 1 stands for, step sizes starting at up to ``highest``; not on the scale ``log``."""
        return highest if self.learned and self.scale == "relative" else 1.0

    def initial(self, start: list[float], theta: Parameters, steps: int) -> Parameters:
        """Step sizes for the tensors ``theta`` that the inner loop moves, uniformly between the two of ``start``."""
        low, high = start
        leading = (max(steps, 1),) if self.each_step else ()
        like = {self._key(name): tensor for name, tensor in theta.items()}
        rates = {
            key: low + (high - low) * torch.rand((*leading, *self._shape(tensor)), dtype=tensor.dtype)
            for key, tensor in like.items()
        }
        if self.logarithmic:
            return {key: rate.log() for key, rate in rates.items()}
        return {key: rate / self.unit(high) for key, rate in rates.items()}

    def rate(self, params: Parameters, name: str, step: int, highest: float) -> Tensor:
        """The step size of a tensor of θ in inner step ``step`` (from 0); ``highest`` as for `unit`."""
        kept = params[self._key(name)] if self.learned else params[self._key(name)].detach()
        return self.value(kept[min(step, len(kept) - 1)] if self.each_step else kept, highest)

    def value(self, kept: Tensor, highest: float) -> Tensor:
        """The step sizes of a meta-parameter; ``highest`` as for `unit`."""
        return kept.exp() if self.logarithmic else kept * self.unit(highest)

    def clamp(self, params: Parameters, highest: float) -> None:
        """Bring learned step sizes back between ``least`` and ``most``, in place; ``highest`` as for `unit`."""
        if not self.learned or (self.least is None and self.most is None):
            return
        least, most = (
            None if bound is None else log(bound) if self.logarithmic else bound / self.unit(highest)
            for bound in (self.least, self.most)
        )
        for key, kept in params.items():
            if key.startswith(PREFIX):
                kept.clamp_(least, most)

    def _key(self, name: str) -> str:
        keys = {"all": "all", "layer": name.rpartition(".")[0], "tensor": name, "parameter": name}
        return PREFIX + keys[self.per]

    def _shape(self, tensor: Tensor) -> tuple[int, ...]:
        return tuple(tensor.shape) if self.per == "parameter" else ()
