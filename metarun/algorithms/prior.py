"""The prior of a task's parameters around their start, p(θ_t | θ₀) = N(θ₀, σ²I): how wide it is where."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metarun.core.fields import number
from metarun.models.base import HEAD, LAYERS, NORMS, Parameters

PREFIX = "log_variance."
"""How the names of learned variances, which are kept as logarithms, begin among an algorithm's own meta-parameters."""


@dataclass(kw_only=True)
class Prior:
    """σ² is ``variance``, or for parameters of the kinds ``layers``, ``norms`` and ``head`` what is given for these.

    learned: every layer (each normalization counts as one) has its own σ², which the outer loop moves from there.
    """

    variance: float = number(above=0)
    layers: float | None = number(above=0)
    norms: float | None = number(above=0)
    head: float | None = number(above=0)
    learned: bool

    def initial(self, theta: Parameters) -> Parameters:
        """The meta-parameters that it has, for a task model with parameters ``theta``."""
        if not self.learned:
            return {}
        return {_key(name): torch.log(tensor.new_tensor(self._given(name))) for name, tensor in theta.items()}

    def of(self, params: Parameters, name: str) -> float | Tensor:
        """σ² of a tensor of θ."""
        return params[_key(name)].exp() if self.learned else self._given(name)

    def slopes(self, params: Parameters, away: Parameters) -> Parameters:
        """The derivative of −log p by log σ², for parameters ``away`` from the start: a scalar for each layer.

        Per number of the layer, ½ (1 − mean (θ_t − θ₀)²/σ²), so that large layers learn theirs as fast as small ones.
        """
        if not self.learned:
            return {}
        squares: dict[str, list[Tensor]] = {}
        for name, tensor in away.items():
            squares.setdefault(_key(name), []).append(tensor.flatten().square())
        return {key: (1 - torch.cat(parts).mean() / params[key].exp()) / 2 for key, parts in squares.items()}

    def _given(self, name: str) -> float:
        for prefix, variance in ((LAYERS, self.layers), (NORMS, self.norms), (HEAD, self.head)):
            if name.startswith(prefix) and variance is not None:
                return variance
        return self.variance


def _key(name: str) -> str:
    return PREFIX + name.rpartition(".")[0]
