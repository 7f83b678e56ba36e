"""A transformer over the support pairs: SNAIL (Mishra et al. 2018, "A simple neural attentive meta-learner") as a set.

Where SNAIL reads (x_i, y_i) as a sequence, by convolutions over time and causal attention, here attention alone sees
them, without positions, so that their order does not matter.
"""

from dataclasses import dataclass
from math import gcd, sqrt

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metarun.algorithms.attention import attention
from metarun.algorithms.on_features import Attending, SupportFeatures
from metarun.core.errors import UserError
from metarun.core.fields import number
from metarun.core.kinds import TaskKind
from metarun.datasets.base import Problem
from metarun.models.base import Parameters, TaskModel


@dataclass(kw_only=True)
class Transformer(Attending):
    """Predictions read off the queries' tokens after ``layers`` blocks of attention to the support set's tokens.

    Of classification, the same network is asked once for each class: its labels say which support examples are of that
    class, and its prediction is the logit that the query is. Nothing is learned of a class's number then.
    """

    layers: int = number(least=1, most=1_000)
    width: int = number(least=1, most=1_000_000)
    heads: int = number(least=1, most=1_000_000)

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise UserError(
                f"algorithm.heads={self.heads}: must divide algorithm.width={self.width}; set "
                f"algorithm.heads={gcd(self.heads, self.width)}, or algorithm.width to a multiple of the heads"
            )

    def network(self, features: int, problem: Problem) -> nn.Module:
        return Encoder(features, problem.kind, self.layers, self.width, self.heads)

    def answer(self, model: TaskModel, params: Parameters, support: SupportFeatures, queries: Tensor) -> Tensor:
        prediction: Tensor = functional_call(model.algorithm_network, params, (support, queries))[0]
        return prediction

    def attend(self, model: TaskModel, params: Parameters, support: SupportFeatures, queries: Tensor) -> Tensor:
        """Of the last block, the mean over its heads, when it is asked for the class that it predicts."""
        prediction, weights = functional_call(model.algorithm_network, params, (support, queries))
        weights = weights.mean(1)
        asked = prediction.argmax(-1) if len(weights) > 1 else torch.zeros_like(prediction[:, 0], dtype=torch.int64)
        return weights[asked, torch.arange(len(asked), device=asked.device)]


class Encoder(nn.Module):
    """Tokens, blocks and a linear layer. A query's token is its features with a learned vector for the label."""

    def __init__(self, features: int, kind: TaskKind, blocks: int, width: int, heads: int) -> None:
        super().__init__()
        self.by_class = kind.by_class
        self.example = nn.Linear(features, width)
        self.label = nn.Linear(1 if self.by_class else kind.targets, width, bias=False)
        self.unlabeled = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, 1 if self.by_class else kind.outputs)

    def forward(self, support: SupportFeatures, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions ``[q, outputs]`` and the last block's attention ``[k, heads, q, s]``; k: the classes, or 1."""
        features, labels, mask = support
        s = len(features)
        labels = self.label(labels.T[..., None] if self.by_class else labels[None])
        asked = (self.example(queries) + self.unlabeled).expand(len(labels), -1, -1)
        tokens = torch.cat((self.example(features) + labels, asked), 1)
        for block in self.blocks:
            tokens, weights = block(tokens, s, mask[:, 0])
        return self.readout(self.norm(tokens[:, s:])).transpose(0, 1).flatten(1), weights[..., s:, :]


class Block(nn.Module):
    """Attention and a network of two layers, each on normalized tokens and added to them (pre-norm).

    All tokens attend to the support set's alone. What a query is it knows by the addition; had it a place of its own in
    the softmax, that place's share would fall as the support set is repeated.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.mixed = nn.Linear(width, width)
        self.before_layers = nn.LayerNorm(width)
        self.layers = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor, s: int, mask: Tensor) -> tuple[Tensor, Tensor]:
        """New tokens ``[k, n, width]``, of which the support set's are the first ``s``, and ``[k, heads, n, s]``."""
        normed = self.before_attention(tokens)
        memory = normed[:, :s]
        query, key, value = (self._split(items) for items in (self.query(normed), self.key(memory), self.value(memory)))
        weights = attention(torch.einsum("knhd,kshd->khns", query, key) / sqrt(query.shape[-1]), mask)
        tokens = tokens + self.mixed(torch.einsum("khns,kshd->knhd", weights, value).flatten(2))
        return tokens + self.layers(self.before_layers(tokens)), weights

    def _split(self, items: Tensor) -> Tensor:
        """``[k, n, width]`` to ``[k, n, heads, width / heads]``."""
        return items.unflatten(2, (self.heads, -1))
