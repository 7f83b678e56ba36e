"""Base classes of metric, closed-form and in-context learners, which predict from features of the support set."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from metarun.algorithms.base import InnerState, Learned
from metarun.core.inputs import Inputs
from metarun.core.tasks import AnyExamples
from metarun.models.base import Parameters, TaskModel


class SupportFeatures(NamedTuple):
    """The support set, seen through the task model.

    features: ``[s, features]``; labels: the classes one-hot, or regression targets, ``[s, outputs]``; mask: 1 for
    examples and 0 for padding, ``[s, 1]``. Padding rows are zero everywhere.
    """

    features: Tensor
    labels: Tensor
    mask: Tensor


@dataclass(kw_only=True)
class OnFeatures(Learned):
    """No inner loop: a prediction is what `answer` makes of features, the task model having no head."""

    needs_head: ClassVar[bool] = False

    @abstractmethod
    def answer(self, model: TaskModel, params: Parameters, support: SupportFeatures, queries: Tensor) -> Tensor:
        """Predictions ``[q, outputs]`` for the features of queries ``[q, features]``."""

    def predict(
        self,
        model: TaskModel,
        params: Parameters,
        state: InnerState,
        support: AnyExamples,
        x: Inputs,
        mask: Tensor | None = None,
    ) -> Tensor:
        return self.answer(model, params, *seen_through(model, state, support, x, mask))


@dataclass(kw_only=True)
class Attending(OnFeatures):
    """One whose predictions come of weights on the support examples, to be shown after the meta-test."""

    attends: ClassVar[bool] = True

    @abstractmethod
    def attend(self, model: TaskModel, params: Parameters, support: SupportFeatures, queries: Tensor) -> Tensor:
        """How much each support example counts in each prediction, ``[q, s]``, from features as `answer` gets them."""

    def attention(
        self,
        model: TaskModel,
        params: Parameters,
        state: InnerState,
        support: AnyExamples,
        x: Inputs,
        mask: Tensor | None = None,
    ) -> Tensor:
        """How much each support example counts in each of the predictions that `predict` makes, ``[q, s]``."""
        return self.attend(model, params, *seen_through(model, state, support, x, mask))


def seen_through(
    model: TaskModel, state: InnerState, support: AnyExamples, x: Inputs, mask: Tensor | None
) -> tuple[SupportFeatures, Tensor]:
    """The features of the support set, and those of the queries, by a task model whose outputs are features."""
    features, queries = model.outputs(state.theta, state.running, support, x, mask)
    labels = model.kind.encode_labels(support.y, features.dtype)
    given = torch.ones_like(features[:, :1]) if support.mask is None else support.mask[:, None]
    return SupportFeatures(features * given, labels * given, given), queries
