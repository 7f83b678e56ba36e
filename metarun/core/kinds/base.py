"""The interface of a kind of task."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.func import grad, vjp


class TaskKind(ABC):
    """The labels, predictions, loss and metrics of a kind of task.

    Each is a frozen dataclass whose fields, plain values, are saved in checkpoints under its `name`.

    ``mask`` is 1 for examples and 0 for padding rows, as in `metarun.core.tasks.PaddedExamples`; ``None``: no padding.
    """

    name: ClassVar[str]
    likelihood: ClassVar[str]
    """What labels are given a prediction, as the key ``likelihood`` of a configuration names it."""
    by_class: ClassVar[bool]
    """Whether labels are class numbers, so that a network can be asked once for each class."""
    noun: ClassVar[str]
    """What labels are called, in the plural."""
    baselines: ClassVar[tuple[str, ...]]
    """Trivial predictors that it is compared with (`metarun.engine.baselines`)."""
    trivial: ClassVar[str]
    """The one of them that anything learned should beat."""
    directions: ClassVar[Mapping[str, bool | None]]
    """For every metric and pooled figure, whether higher is better; None: neither, there is a value to be met."""
    continuous: ClassVar[tuple[str, ...]]
    """Metrics that rounding changes by as little as predictions, and not by a whole example."""

    predicts_variance: ClassVar[bool] = False
    """Whether a prediction holds a mean and a variance (`metarun.core.kinds.gaussian.Gaussian`)."""

    metric: str
    """The metric that names the run's success and selects its best checkpoint."""
    higher_is_better: bool

    @property
    @abstractmethod
    def targets(self) -> int:
        """Size of a label as `encode_labels` encodes it."""

    @property
    def outputs(self) -> int:
        """Size of a prediction, the task model's output."""
        return self.targets

    @property
    def point(self) -> "TaskKind":
        """The kind that judges predictions of the label alone, ``[n, targets]``."""
        return self

    @property
    def baseline_metric(self) -> str:
        """The metric by which it is compared with trivial predictors."""
        return self.point.metric

    @property
    @abstractmethod
    def expected(self) -> str:
        """What labels have to be, for messages."""

    @abstractmethod
    def label_array(self, values: Any, name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
        """A user's labels as a tensor ``[n, ...]``; ``name`` is what messages call them. Raises `UserError`."""

    @abstractmethod
    def fits(self, y: Tensor) -> bool:
        """Whether ``y`` ``[T, n, ...]`` are labels of T tasks."""

    @abstractmethod
    def loss(self, prediction: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mean loss over the examples, a scalar."""

    @abstractmethod
    def metrics(self, prediction: Tensor, y: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Scalars that describe the predictions ``[n, outputs]`` for one task."""

    @abstractmethod
    def totals(self, prediction: Tensor, y: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """What `pooled` needs of one task, float64; of several tasks it takes them stacked."""

    @abstractmethod
    def pooled(self, totals: Mapping[str, Tensor]) -> dict[str, float]:
        """Figures over the examples of all tasks together that are not a mean over tasks.

        totals: those of ``T`` tasks, ``[T, ...]`` each; it does not matter how they were chunked or distributed.
        """

    def answers(self, prediction: Tensor, y: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """What was asked and answered, example by example, where that can be counted."""
        return {}

    @abstractmethod
    def encode_labels(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        """Labels as vectors ``[n, targets]``, for encoders of (x, y) pairs."""

    @abstractmethod
    def decision(self, prediction: Tensor) -> Tensor:
        """The labels that predictions ``[n, outputs]`` stand for: class numbers ``[n]``, or ``[n, targets]``."""

    @abstractmethod
    def distribution(self, prediction: Tensor) -> dict[str, Tensor]:
        """What predictions ``[n, outputs]`` say beyond the decision, by name; each ``[n, targets]``."""

    def joined(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """The prediction with these means ``[n, targets]`` and, where the kind predicts variances, with these."""
        return mean

    def curvature(self, prediction: Tensor, y: Tensor, mask: Tensor | None = None) -> Callable[[Tensor], Tensor]:
        """The product with the Hessian of `loss` by the predictions; where it is indefinite, with its expectation
        under what is predicted, so that it is positive semidefinite in any case.
        """

        def loss(prediction: Tensor) -> Tensor:
            return self.loss(prediction, y, mask)

        _, bend, *_ = vjp(grad(loss), prediction)

        def product(vector: Tensor) -> Tensor:
            bent: Tensor = bend(vector)[0]
            return bent

        return product

    @abstractmethod
    def information(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """Functions of a prediction ``[outputs]`` and the weights of their squared slopes in its Fisher information.

        The expectation is over the predicted distribution, not the label.
        """


def weighted_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of ``values`` ``[n]`` over the rows with ``mask`` 1."""
    return values.mean() if mask is None else (values * mask).sum() / mask.sum()
