"""Regression by the squared error."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from metarun.core.arrays import floating
from metarun.core.kinds.base import TaskKind, weighted_mean
from metarun.core.moments import Moments, merged, moments


@dataclass(frozen=True)
class Regression(TaskKind):
    """Real targets ``[n, dimensions]``; the prediction is the expected value."""

    name: ClassVar[str] = "regression"
    likelihood: ClassVar[str] = "squared"
    by_class: ClassVar[bool] = False
    noun: ClassVar[str] = "targets"
    baselines: ClassVar[tuple[str, ...]] = ("support_mean", "ridge")
    trivial: ClassVar[str] = "support_mean"
    directions: ClassVar[Mapping[str, bool | None]] = {"mse": False, "mae": False, "explained_variance": True}
    continuous: ClassVar[tuple[str, ...]] = ("mse", "mae")

    dimensions: int = 1
    metric: str = "mse"
    higher_is_better: bool = False

    @property
    def targets(self) -> int:
        return self.dimensions

    @property
    def expected(self) -> str:
        return f"targets of {self.dimensions} dimension{'' if self.dimensions == 1 else 's'}"

    def label_array(self, values: Any, name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
        return floating(values, name, (self.dimensions,), dtype, device)

    def fits(self, y: Tensor) -> bool:
        return y.dim() == 3 and y.is_floating_point() and y.shape[2] == self.dimensions

    def loss(self, prediction: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mean squared error. Raises `ValueError` where shapes differ, which PyTorch would broadcast."""
        if prediction.shape != y.shape:
            raise ValueError(f"predictions {tuple(prediction.shape)} for targets {tuple(y.shape)}: they must be alike")
        return F.mse_loss(prediction, y) if mask is None else weighted_mean((prediction - y).square().mean(-1), mask)

    def metrics(self, prediction: Tensor, y: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Mean squared and mean absolute error."""
        absolute = weighted_mean((prediction - y).abs().mean(-1), mask)
        return {"mse": self.loss(prediction, y, mask), "mae": absolute}

    def totals(self, prediction: Tensor, y: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Sum of squared errors, and the `Moments` of the targets of each dimension."""
        weight = torch.ones_like(y[:, 0]) if mask is None else mask
        error = prediction.double() - y.double()
        errors = (weight.double()[:, None] * error.square()).sum()
        return {"errors": errors, **moments(y, weight)._asdict()}

    def pooled(self, totals: Mapping[str, Tensor]) -> dict[str, float]:
        """Explained variance: 1 - squared error / variance of the targets, over the examples of all tasks.

        Sums are over dimensions, and each dimension has its own mean: scikit-learn's
        ``r2_score(multioutput="variance_weighted")``. Missing if all targets are the same.
        """
        targets = merged(Moments(*(totals[name] for name in Moments._fields)))
        if targets.constant.all():
            return {}
        return {"explained_variance": 1 - float(totals["errors"].sum() / targets.squares.sum())}

    def encode_labels(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        return y.to(dtype)

    def decision(self, prediction: Tensor) -> Tensor:
        return prediction

    def distribution(self, prediction: Tensor) -> dict[str, Tensor]:
        return {}

    def information(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """Of a normal distribution with unit variance around the prediction: Σ (∂ prediction)²."""
        return prediction, torch.ones_like(prediction)
