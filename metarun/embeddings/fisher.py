"""Task2Vec (Achille et al. 2019): a task is which weights of a probe network matter for it.

The probe is a network like the task model's, but for its last layer, which is fitted on the support set. How much its
predictions then depend on each of its other weights, the diagonal of the Fisher information, is the task's picture.
As in the paper, normalization is by constants: statistics of the support set, held while the weights are varied.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vmap
from torch.utils._pytree import tree_map

from metarun.core.fields import number
from metarun.core.inputs import Inputs, one_of
from metarun.core.kinds import TaskKind
from metarun.core.tasks import AnyExamples
from metarun.datasets.base import Problem
from metarun.embeddings.base import Embedding, EmbeddingInputs, Fit
from metarun.embeddings.probe import probe_of
from metarun.models.base import Parameters, TaskModel
from metarun.models.normalization import Context

FLOOR = 1e-6
"""Smallest information of a unit that differs from none, relative to the mean over units."""
TINY = 1e-12
"""Keeps 0 / 0 at 0."""
AT_ONCE = 64
"""Derivatives of single outputs computed at once, each of which is as large as the network, where memory can be freed
between them (while the probe does not learn)."""


@dataclass(kw_only=True)
class FisherEmbedding:
    size: int = number(least=1, most=1_000_000)
    head_steps: int = number(least=1)
    head_lr: float = number(above=0, below=1)
    learn_probe: bool
    reads_labels = True
    knows_tasks = False

    def build(self, problem: Problem, model: TaskModel) -> Embedding:
        return FisherEncoder(self, model)


class FisherEncoder(Embedding):
    def __init__(self, config: FisherEmbedding, model: TaskModel) -> None:
        super().__init__()
        self.kind, self.steps, self.rate = model.kind.point, config.head_steps, config.head_lr
        self.learn_probe = config.learn_probe
        self.probe = probe_of(model.network)
        units = sum(len(parameter) for parameter in self.probe.parameters())
        if not config.learn_probe:
            self.frozen = frozenset(f"probe.{name}" for name, _ in self.probe.named_parameters())
        self.whole = nn.Linear(units + 1, config.size)

    def forward(self, seen: EmbeddingInputs, fit: Fit, testing: bool) -> Tensor:
        support = seen.support
        body: Parameters = {
            name: tensor if self.learn_probe else tensor.detach() for name, tensor in self.probe.named_parameters()
        }
        context = Context(mask=support.mask)
        features = functional_call(self.probe, body, (support.x, context))
        head = fitted_head(features, support, self.kind, self.steps, self.rate)

        def outputs(body: Parameters, x: Inputs) -> Tensor:
            held = Context(running=dict(context.running))
            return linear(functional_call(self.probe, body, (tree_map(lambda tensor: tensor[None], x), held)), head)[0]

        return self.whole(profile(diagonal_fisher(outputs, body, support, self.kind)))


def linear(features: Tensor, head: Parameters) -> Tensor:
    """Outputs ``[s, outputs]`` of a last layer."""
    return features @ head["weight"] + head["bias"]


def fitted_head(features: Tensor, support: AnyExamples, kind: TaskKind, steps: int, rate: float) -> Parameters:
    """The last layer on features ``[s, width]``, from zero by ``steps`` of gradient descent on the mean loss.

    The step size is ``rate`` over the mean squared length of the features (with the bias's 1), which bounds the
    curvature of either kind's loss: for any rate below 1 the loss falls, whatever the features' scale.
    """
    one = torch.ones_like(features[:, 0]) if support.mask is None else support.mask
    lengths = 1 + features.square().sum(-1)
    step = rate * one.sum() / (one * lengths).sum()

    def loss(head: Parameters) -> Tensor:
        return kind.loss(linear(features, head), support.y, support.mask)

    head = {"weight": features.new_zeros(features.shape[1], kind.outputs), "bias": features.new_zeros(kind.outputs)}
    for _ in range(steps):
        slope = grad(loss)(head)
        head = {name: tensor - step * slope[name] for name, tensor in head.items()}
    return head


def diagonal_fisher(
    outputs: Callable[[Parameters, Inputs], Tensor], body: Parameters, support: AnyExamples, kind: TaskKind
) -> Parameters:
    """Diagonal of the Fisher information of ``body``, each tensor like its own, mean over examples.

    outputs: the network's, ``[outputs]``, for a body and one input. That of an example is `TaskKind.information`: the
    expectation is over the model's own predictions, not the labels.
    """
    share = one_of(support.x).new_ones(len(support.y)) if support.mask is None else support.mask

    def of_example(x: Inputs, share: Tensor) -> Parameters:
        slopes, weight = jacrev(lambda body: kind.information(outputs(body, x)), has_aux=True)(body)
        return {name: torch.tensordot(share * weight, slope.square(), 1) for name, slope in slopes.items()}

    each = vmap(of_example, chunk_size=max(1, AT_ONCE // kind.outputs))(support.x, share / share.sum())
    return {name: parts.sum(0) for name, parts in each.items()}


def profile(information: Parameters) -> Tensor:
    """The information of each unit (filter, or entry of a vector) ``[units]``, on a log scale, normalized; and of all.

    Relative to the mean, so that the floor means the same for every task; the mean itself comes last.
    """
    units = torch.cat([tensor.flatten(1).mean(1) if tensor.dim() > 1 else tensor for tensor in information.values()])
    mean = units.mean()
    logs = torch.log(units / (mean + TINY) + FLOOR)
    return torch.cat((F.layer_norm(logs, logs.shape), mean.log1p()[None]))
