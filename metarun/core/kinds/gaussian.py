"""Regression by the likelihood of a normal distribution, whose mean and variance are both predicted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log, pi
from statistics import NormalDist
from typing import ClassVar

import torch
from torch import Tensor

from metarun.core.kinds.base import weighted_mean
from metarun.core.kinds.regression import Regression

BOUND = 10.0
"""The logarithm of the variance lies within plus and minus this."""
NOMINAL = 0.9
"""The central interval of the predicted distribution whose coverage is measured."""
QUANTILE = NormalDist().inv_cdf(0.5 + NOMINAL / 2)
"""Half of that interval's width, in standard deviations."""


@dataclass(frozen=True)
class Gaussian(Regression):
    """Real targets ``[n, dimensions]``; a prediction ``[2 · dimensions]`` holds the means, then the spreads.

    The logarithm of the variance is `BOUND` · tanh(spread / `BOUND`), nearly the spread itself where that is small, so
    that no gradient step can make the likelihood infinite. Dimensions are independent given the prediction. The metric
    is the negative log-likelihood, which can be negative; errors are those of the mean.
    """

    name: ClassVar[str] = "gaussian"
    likelihood: ClassVar[str] = "gaussian"
    predicts_variance: ClassVar[bool] = True
    directions: ClassVar[Mapping[str, bool | None]] = {"nll": False, "coverage": None, **Regression.directions}
    continuous: ClassVar[tuple[str, ...]] = ("nll", *Regression.continuous)

    metric: str = "nll"

    @property
    def outputs(self) -> int:
        return 2 * self.dimensions

    @property
    def point(self) -> Regression:
        return Regression(self.dimensions)

    def loss(self, prediction: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mean negative log-likelihood, a mean over dimensions too, like the squared error.

        Raises `ValueError` where shapes do not go together, which PyTorch would broadcast.
        """
        mean, log_variance = self.moments(prediction)
        if mean.shape != y.shape:
            raise ValueError(f"means {tuple(mean.shape)} for targets {tuple(y.shape)}: they must be alike")
        each = (log_variance + (y - mean).square() * (-log_variance).exp() + log(2 * pi)) / 2
        return weighted_mean(each.mean(-1), mask)

    def metrics(self, prediction: Tensor, y: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Negative log-likelihood, how many targets lie within the 90 % interval, and the errors of the mean."""
        mean, log_variance = self.moments(prediction)
        within = (y - mean).abs() <= QUANTILE * (log_variance / 2).exp()
        return {
            "nll": self.loss(prediction, y, mask),
            "coverage": weighted_mean(within.to(prediction.dtype).mean(-1), mask),
            **self.point.metrics(mean, y, mask),
        }

    def totals(self, prediction: Tensor, y: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        return self.point.totals(self.decision(prediction), y, mask)

    def moments(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance, ``[..., dimensions]`` each."""
        mean, spread = prediction.split(self.dimensions, -1)
        return mean, BOUND * torch.tanh(spread / BOUND)

    def joined(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """The prediction with these moments; log-variances beyond the bounds become what is next to them."""
        share = (log_variance / BOUND).clamp(-1 + 1e-4, 1 - 1e-4)
        return torch.cat((mean, BOUND * torch.atanh(share)), -1)

    def decision(self, prediction: Tensor) -> Tensor:
        return self.moments(prediction)[0]

    def distribution(self, prediction: Tensor) -> dict[str, Tensor]:
        """The standard deviation."""
        return {"std": (self.moments(prediction)[1] / 2).exp()}

    def curvature(self, prediction: Tensor, y: Tensor, mask: Tensor | None = None) -> Callable[[Tensor], Tensor]:
        """The expected Hessian, that is the Fisher information: 1/σ² for the mean and ½ for log σ²."""
        _, weight = self.information(prediction)
        row = torch.full_like(y, 1 / len(y)) if mask is None else (mask / mask.sum())[:, None].expand_as(y)
        slope = 1 - torch.tanh(prediction.split(self.dimensions, -1)[1] / BOUND).square()
        inner = torch.cat((torch.ones_like(slope), slope.square()), -1)
        whole = weight * inner * row.repeat(1, 2) / self.dimensions
        return lambda vector: whole * vector

    def information(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """Σ (∂ mean)²/σ² + ½ (∂ log σ²)²."""
        mean, log_variance = self.moments(prediction)
        weight = torch.cat(((-log_variance).exp(), torch.full_like(log_variance, 0.5)), -1)
        return torch.cat((mean, log_variance), -1), weight
