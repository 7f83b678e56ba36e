"""Classification by the cross-entropy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from metarun.core.arrays import class_numbers
from metarun.core.calibration import calibration_error, calibration_sums
from metarun.core.kinds.base import TaskKind, weighted_mean


@dataclass(frozen=True)
class Classification(TaskKind):
    """One of ``ways`` classes; the prediction is a row of logits."""

    name: ClassVar[str] = "classification"
    likelihood: ClassVar[str] = "categorical"
    by_class: ClassVar[bool] = True
    noun: ClassVar[str] = "classes"
    baselines: ClassVar[tuple[str, ...]] = ("nearest_centroid", "nearest_neighbor", "majority_class")
    trivial: ClassVar[str] = "majority_class"
    directions: ClassVar[Mapping[str, bool | None]] = {
        **dict.fromkeys(("accuracy", "precision", "recall", "f1"), True),
        **dict.fromkeys(("loss", "ece"), False),
    }
    continuous: ClassVar[tuple[str, ...]] = ("loss",)

    ways: int
    metric: str = "accuracy"
    higher_is_better: bool = True

    @property
    def targets(self) -> int:
        return self.ways

    @property
    def baseline_metric(self) -> str:
        return "accuracy" if self.metric == "loss" else self.metric  # class predictions alone have no loss

    @property
    def expected(self) -> str:
        return f"class numbers 0 to {self.ways - 1}"

    def label_array(self, values: Any, name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
        return class_numbers(values, name, self.ways, device)

    def fits(self, y: Tensor) -> bool:
        return y.dim() == 2 and not y.is_floating_point() and bool(((y >= 0) & (y < self.ways)).all())

    def loss(self, prediction: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mean cross-entropy."""
        if mask is None:
            return F.cross_entropy(prediction, y)
        return weighted_mean(F.cross_entropy(prediction, y, reduction="none"), mask)

    def metrics(self, prediction: Tensor, y: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Accuracy, and macro-averaged precision, recall and F1.

        The average is over the classes that occur among the targets or the predictions of the episode; a ratio with
        denominator 0 counts as 0. These are scikit-learn's ``average="macro"`` and ``zero_division=0``.
        """
        weight = torch.ones_like(prediction[:, :1]) if mask is None else mask.to(prediction.dtype)[:, None]
        truth = self.encode_labels(y, prediction.dtype) * weight
        guess = self.encode_labels(prediction.argmax(-1), prediction.dtype) * weight
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
            "loss": self.loss(prediction, y, mask),
        }

    def totals(self, prediction: Tensor, y: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Sums for the calibration error."""
        weight = torch.ones_like(prediction[:, 0]) if mask is None else mask
        return {"calibration": calibration_sums(prediction, y, weight)}

    def pooled(self, totals: Mapping[str, Tensor]) -> dict[str, float]:
        """Expected calibration error (ECE) of all tasks' predictions, see `metarun.core.calibration`."""
        return {"ece": calibration_error(totals["calibration"].sum(0))}

    def answers(self, prediction: Tensor, y: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """The labels, and those guessed, ``[n]``; -1 in rows that fill up."""
        guess = prediction.argmax(-1)
        if mask is None:
            return {"label": y, "guess": guess}
        return {"label": torch.where(mask > 0, y, -1), "guess": torch.where(mask > 0, guess, -1)}

    def encode_labels(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        # F.one_hot calls .item() where vmap is around grad.
        return (y[:, None] == torch.arange(self.ways, device=y.device)).to(dtype)

    def decision(self, prediction: Tensor) -> Tensor:
        return prediction.argmax(-1)

    def distribution(self, prediction: Tensor) -> dict[str, Tensor]:
        """Logits and probabilities."""
        return {"logits": prediction, "probabilities": prediction.softmax(-1)}

    def information(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """With the softmax p of the prediction, Σ_c p_c (∂ log p_c)²."""
        logs = F.log_softmax(prediction, -1)
        return logs, logs.exp()
