"""Kinds of task: each owns its loss, its metrics and how labels enter an encoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from metarun.core.calibration import calibration_error, calibration_sums
from metarun.core.moments import Moments, merged, moments


class TaskKind(Protocol):
    """What the rest of the house asks of a kind of task."""

    metric: str
    """The metric that names the run's success and selects its best checkpoint."""
    higher_is_better: bool
    directions: ClassVar[Mapping[str, bool]]
    """Of every figure that `metrics` and `pooled` give, whether higher is better."""

    @property
    def outputs(self) -> int:
        """Size of the task model's output."""
        ...

    def loss(self, prediction: Tensor, y: Tensor, real: Tensor | None = None) -> Tensor:
        """Mean loss over the examples, a scalar; ``real`` marks them as in `metarun.core.tasks.PaddedExamples`."""
        ...

    def metrics(self, prediction: Tensor, y: Tensor, real: Tensor | None = None) -> dict[str, Tensor]:
        """Scalars that describe the predictions ``[n, outputs]`` for one task."""
        ...

    def totals(self, prediction: Tensor, y: Tensor, real: Tensor | None = None) -> dict[str, Tensor]:
        """What `pooled` needs of one task, float64; of several tasks it takes them stacked."""
        ...

    def pooled(self, totals: Mapping[str, Tensor]) -> dict[str, float]:
        """Figures over the examples of all tasks together that are not a mean over tasks.

        totals: those of ``T`` tasks, ``[T, ...]`` each; it does not matter how they were chunked or distributed.
        """
        ...

    def answers(self, prediction: Tensor, y: Tensor, real: Tensor | None = None) -> dict[str, Tensor]:
        """What was asked and answered, example by example, where that can be counted."""
        ...

    def features(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        """Labels as vectors ``[n, outputs]``, for encoders of (x, y) pairs."""
        ...


@dataclass(frozen=True)
class Classification:
    """One of ``ways`` classes; the prediction is a row of logits."""

    ways: int
    metric: str = "accuracy"
    higher_is_better: bool = True
    directions: ClassVar[Mapping[str, bool]] = {
        **dict.fromkeys(("accuracy", "precision", "recall", "f1"), True),
        **dict.fromkeys(("loss", "ece"), False),
    }

    @property
    def outputs(self) -> int:
        return self.ways

    def loss(self, prediction: Tensor, y: Tensor, real: Tensor | None = None) -> Tensor:
        """Mean cross-entropy."""
        if real is None:
            return F.cross_entropy(prediction, y)
        return _mean(F.cross_entropy(prediction, y, reduction="none"), real)

    def metrics(self, prediction: Tensor, y: Tensor, real: Tensor | None = None) -> dict[str, Tensor]:
        """Accuracy, and macro-averaged precision, recall and F1.

        The average is over the classes that occur among the targets or the predictions of the episode; a ratio with
        denominator 0 counts as 0. These are scikit-learn's ``average="macro"`` and ``zero_division=0``.
        """
        weight = torch.ones_like(prediction[:, :1]) if real is None else real.to(prediction.dtype)[:, None]
        truth = self.features(y, prediction.dtype) * weight
        guess = self.features(prediction.argmax(-1), prediction.dtype) * weight
        hits, guessed, true = (truth * guess).sum(0), guess.sum(0), truth.sum(0)
        precision = hits / guessed.clamp(min=1)
        recall = hits / true.clamp(min=1)
        f1 = 2 * hits / (guessed + true).clamp(min=1)
        occurring = (guessed + true > 0).sum()  # the ratios of all other classes are 0
        return {
            "accuracy": hits.sum() / weight.sum(),
            "precision": precision.sum() / occurring,
            "recall": recall.sum() / occurring,
            "f1": f1.sum() / occurring,
            "loss": self.loss(prediction, y, real),
        }

    def totals(self, prediction: Tensor, y: Tensor, real: Tensor | None = None) -> dict[str, Tensor]:
        """Sums for the calibration error."""
        weight = torch.ones_like(prediction[:, 0]) if real is None else real
        return {"calibration": calibration_sums(prediction, y, weight)}

    def pooled(self, totals: Mapping[str, Tensor]) -> dict[str, float]:
        """Expected calibration error (ECE) of all tasks' predictions, see `metarun.core.calibration`."""
        return {"ece": calibration_error(totals["calibration"].sum(0))}

    def answers(self, prediction: Tensor, y: Tensor, real: Tensor | None = None) -> dict[str, Tensor]:
        """The labels, and those guessed, ``[n]``; -1 in rows that fill up."""
        guess = prediction.argmax(-1)
        if real is None:
            return {"label": y, "guess": guess}
        return {"label": torch.where(real > 0, y, -1), "guess": torch.where(real > 0, guess, -1)}

    def features(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        # F.one_hot calls .item() where vmap is around grad.
        return (y[:, None] == torch.arange(self.ways, device=y.device)).to(dtype)


@dataclass(frozen=True)
class Regression:
    """Real targets ``[n, dimensions]``; the prediction is the expected value."""

    dimensions: int = 1
    metric: str = "mse"
    higher_is_better: bool = False
    directions: ClassVar[Mapping[str, bool]] = {"mse": False, "mae": False, "explained_variance": True}

    @property
    def outputs(self) -> int:
        return self.dimensions

    def loss(self, prediction: Tensor, y: Tensor, real: Tensor | None = None) -> Tensor:
        """Mean squared error. Raises `ValueError` where shapes differ, which PyTorch would broadcast."""
        if prediction.shape != y.shape:
            raise ValueError(f"predictions {tuple(prediction.shape)} for targets {tuple(y.shape)}: they must be alike")
        return F.mse_loss(prediction, y) if real is None else _mean((prediction - y).square().mean(-1), real)

    def metrics(self, prediction: Tensor, y: Tensor, real: Tensor | None = None) -> dict[str, Tensor]:
        """Mean squared and mean absolute error."""
        error = (prediction - y).abs().mean(-1)
        absolute = error.mean() if real is None else _mean(error, real)
        return {"mse": self.loss(prediction, y, real), "mae": absolute}

    def totals(self, prediction: Tensor, y: Tensor, real: Tensor | None = None) -> dict[str, Tensor]:
        """Sum of squared errors, and the `Moments` of the targets of each dimension."""
        weight = torch.ones_like(y[:, 0]) if real is None else real
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

    def answers(self, prediction: Tensor, y: Tensor, real: Tensor | None = None) -> dict[str, Tensor]:
        return {}

    def features(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        return y.to(dtype)


def _mean(values: Tensor, real: Tensor) -> Tensor:
    """Mean of ``values`` ``[n]`` over the rows that ``real`` marks."""
    return (values * real).sum() / real.sum()
