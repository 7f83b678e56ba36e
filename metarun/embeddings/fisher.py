"""Task2Vec (Achille et al. 2019): a task is which weights of a probe network matter for it.

The probe is a network like the task model's, but for its last layer, which is fitted on the support set. How much its
predictions then depend on each of its other weights, the diagonal of the Fisher information, is the task's picture.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from metarun.config.fields import number
from metarun.datasets.base import Dataset
from metarun.embeddings.base import Fit, Seen
from metarun.kinds import Classification, TaskKind
from metarun.models.base import Parameters, TaskModel
from metarun.models.normalisation import Context
from metarun.tasks import AnyExamples

FLOOR = 1e-6
"""Least information of a unit that is told apart from none, of the mean over units."""
TINY = 1e-12
"""Keeps 0 / 0 at 0."""


@dataclass(kw_only=True)
class FisherEmbedding:
    size: int = number(least=1)
    head_steps: int = number(least=1)
    head_lr: float = number(above=0, below=1)
    learn_probe: bool
    reads_labels = True

    def build(self, dataset: Dataset, model: TaskModel) -> nn.Module:
        return FisherEncoder(self, model)


class FisherEncoder(nn.Module):
    def __init__(self, config: FisherEmbedding, model: TaskModel) -> None:
        super().__init__()
        self.kind, self.steps, self.rate = model.kind, config.head_steps, config.head_lr
        self.learn_probe = config.learn_probe
        self.probe = deepcopy(model.network)
        self.probe.head = nn.Identity()
        units = sum(len(parameter) for parameter in self.probe.parameters())
        self.whole = nn.Linear(units + 1, config.size)

    def forward(self, seen: Seen, fit: Fit, testing: bool) -> Tensor:
        support = seen.support
        body: Parameters = {
            name: tensor if self.learn_probe else tensor.detach() for name, tensor in self.probe.named_parameters()
        }

        def features(body: Parameters) -> Tensor:
            return functional_call(self.probe, body, (support.x, Context(real=support.real)))

        head = fitted_head(features(body), support, self.kind, self.steps, self.rate)
        information = diagonal_fisher(lambda body: linear(features(body), head), body, self.kind, support.real)
        return self.whole(profile(information))


def linear(features: Tensor, head: Parameters) -> Tensor:
    """Outputs ``[s, outputs]`` of a last layer."""
    return features @ head["weight"] + head["bias"]


def fitted_head(features: Tensor, support: AnyExamples, kind: TaskKind, steps: int, rate: float) -> Parameters:
    """The last layer on features ``[s, width]``, from zero by ``steps`` of gradient descent on the mean loss.

    The step size is ``rate`` over the mean squared length of the features (with the bias's 1), which bounds the
    curvature of either kind's loss: for any rate below 1 the loss falls, whatever the features' scale.
    """
    one = torch.ones_like(features[:, 0]) if support.real is None else support.real
    lengths = 1 + features.square().sum(-1)
    step = rate * one.sum() / (one * lengths).sum()

    def loss(head: Parameters) -> Tensor:
        return kind.loss(linear(features, head), support.y, support.real)

    head = {"weight": features.new_zeros(features.shape[1], kind.outputs), "bias": features.new_zeros(kind.outputs)}
    for _ in range(steps):
        slope = grad(loss)(head)
        head = {name: tensor - step * slope[name] for name, tensor in head.items()}
    return head


def diagonal_fisher(
    outputs: Callable[[Parameters], Tensor], body: Parameters, kind: TaskKind, real: Tensor | None
) -> Parameters:
    """Diagonal of the Fisher information of ``body``, each tensor like its own, mean over examples.

    outputs: the network's, ``[s, outputs]``, for a body. With p = softmax of an example's outputs, it is
    Σ_c p_c (∂ log p_c / ∂θ)²; for regression, with unit variance, Σ_o (∂ output_o / ∂θ)². The expectation is over the
    model's own predictions, not the labels.
    """
    classes = isinstance(kind, Classification)

    def told(body: Parameters) -> Tensor:
        return F.log_softmax(outputs(body), -1) if classes else outputs(body)

    def part(body: Parameters, which: Tensor) -> Tensor:
        return (which * told(body)).sum()

    now = told(body)
    rows, columns = now.shape
    weight = now.exp() if classes else torch.ones_like(now)
    weight = weight / rows if real is None else weight * (real / real.sum())[:, None]
    each = torch.eye(rows * columns, dtype=now.dtype, device=now.device).view(-1, rows, columns)
    slopes = vmap(grad(part), in_dims=(None, 0))(body, each)
    return {name: torch.tensordot(weight.flatten(), slope.square(), 1) for name, slope in slopes.items()}


def profile(information: Parameters) -> Tensor:
    """The information of each unit (filter, or entry of a vector) ``[units]``, on a log scale, normalised; and of all.

    Relative to the mean, so that the floor means the same for every task; the mean itself comes last.
    """
    units = torch.cat([tensor.flatten(1).mean(1) if tensor.dim() > 1 else tensor for tensor in information.values()])
    mean = units.mean()
    logs = torch.log(units / (mean + TINY) + FLOOR)
    return torch.cat((F.layer_norm(logs, logs.shape), mean.log1p()[None]))
