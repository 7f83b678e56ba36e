"""Kinds of task: each owns its loss, its metrics and how labels enter an encoder."""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class TaskKind(Protocol):
    """What the rest of the house asks of a kind of task."""

    metric: str
    """The metric that names the run's success and selects its best checkpoint."""
    higher_is_better: bool

    @property
    def outputs(self) -> int:
        """Size of the task model's output."""
        ...

    def loss(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Mean loss over the examples: a scalar."""
        ...

    def metrics(self, prediction: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Scalars that describe the predictions ``[n, outputs]`` for one task."""
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

    @property
    def outputs(self) -> int:
        return self.ways

    def loss(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy."""
        return F.cross_entropy(prediction, y)

    def metrics(self, prediction: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Accuracy, and precision, recall and F1 averaged over the classes ("macro"; 0 where a class has no case)."""
        truth = F.one_hot(y, self.ways).to(prediction.dtype)
        guess = F.one_hot(prediction.argmax(-1), self.ways).to(prediction.dtype)
        hits, guessed, true = (truth * guess).sum(0), guess.sum(0), truth.sum(0)
        precision = hits / guessed.clamp(min=1)
        recall = hits / true.clamp(min=1)
        f1 = 2 * hits / (guessed + true).clamp(min=1)
        return {
            "accuracy": hits.sum() / len(y),
            "precision": precision.mean(),
            "recall": recall.mean(),
            "f1": f1.mean(),
            "loss": self.loss(prediction, y),
        }

    def features(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        return F.one_hot(y, self.ways).to(dtype)


@dataclass(frozen=True)
class Regression:
    """Real targets ``[n, dimensions]``; the prediction is the expected value."""

    dimensions: int = 1
    metric: str = "mse"
    higher_is_better: bool = False

    @property
    def outputs(self) -> int:
        return self.dimensions

    def loss(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Mean squared error."""
        return F.mse_loss(prediction, y)

    def metrics(self, prediction: Tensor, y: Tensor) -> dict[str, Tensor]:
        error = prediction - y
        return {"mse": error.square().mean(), "mae": error.abs().mean()}

    def features(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        return y.to(dtype)
