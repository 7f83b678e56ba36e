"""Normalization layers as pure functions: what they may look at comes in, what they remember goes out.

An ordinary BatchNorm hides two choices that decide what a few-shot figure means: whether the queries are normalized by
one another (transductive), and what its running statistics remember of other tasks. Here both are arguments.

batch: by the statistics of the support set. running: the queries by a moving average over the task's own batches.
global: as `torch.nn.BatchNorm2d`, by batches in meta-training and by running statistics over all of meta-training
afterwards. group: each example by itself. none: not at all.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import gcd

import torch
from torch import Tensor, nn

EPSILON = 1e-5
MOMENTUM = 0.1
GROUPS = 8

KINDS = ("batch", "running", "global", "group", "none")


@dataclass
class Context:
    """What the normalization layers of one forward pass see.

    support: how many of the leading rows are support examples, whose statistics normalize all rows; ``None``: all rows
        are normalized by the statistics of all.
    mask: of the rows that make the statistics, 1 for examples and 0 for padding, ``[rows]``; ``None``: no padding.
    running: per layer, variance and mean ``[2, channels]``: of ``running`` the task's own moving averages, which the
        layers replace; of ``global`` the statistics to normalize by, or where there are none those of the batch, which
        the layers leave there.
    """

    support: int | None = None
    mask: Tensor | None = None
    running: dict[str, Tensor] = field(default_factory=dict)


Scaled = Callable[[slice, Tensor, Tensor], Tensor]
"""Rows scaled and shifted by channel."""


class BatchStatistics(nn.Module):
    """Normalize by the current batch (Ioffe & Szegedy 2015), never by anything remembered."""

    def __init__(self, channels: int, name: str) -> None:
        super().__init__()
        self.name = name
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, context: Context, weight: Tensor | None = None) -> Tensor:
        """The rows of ``x`` normalized; or, with ``weight``, those of ``weight @ x`` (`of_linear`)."""
        if weight is not None:
            return self.of_linear(weight, x, context)
        spread = [-1] + [1] * (x.dim() - 2)

        def scaled(rows: slice, scale: Tensor, shift: Tensor) -> Tensor:
            return x[rows] * scale.view(spread) + shift.view(spread)

        batch = x[: context.support]
        return self.normalized(scaled, *statistics(batch, context.mask), examples(batch, context.mask), context)

    def of_linear(self, weight: Tensor, x: Tensor, context: Context) -> Tensor:
        """What `forward` makes of ``weight @ x``, without a look at that product.

        weight: ``[channels, k]``; x: ``[n, k, positions]``. Mean and variance of a linear map follow from the mean and
        the covariance of what it maps, and scaling its outputs is scaling its weights. Where k is small, that spares
        nearly all of the memory traffic, which costs far more than the arithmetic.
        """
        # Neighboring pixels vary together, and filters take their differences: half precision would lose these.
        single = torch.promote_types(x.dtype, torch.float32)
        precise = weight.to(single)
        batch = x[: context.support]
        covariance, mean = moments(batch.to(single), context.mask)
        variance = ((precise @ covariance) * precise).sum(1).clamp_min(0)  # not below 0 by rounding

        def scaled(rows: slice, scale: Tensor, shift: Tensor) -> Tensor:
            return (weight * scale[:, None]) @ x[rows] + shift[:, None]

        count = examples(batch, context.mask)
        return self.normalized(scaled, variance.to(x.dtype), (precise @ mean).to(x.dtype), count, context)

    def normalized(
        self, scaled: Scaled, variance: Tensor, mean: Tensor, count: Tensor | int, context: Context
    ) -> Tensor:
        """``(x - mean) / std * weight + bias`` as one multiplication and one addition: ``scaled(rows, scale, shift)``
        of all rows; variance (biased) and mean, ``[channels]``, being those of the rows that make the statistics, over
        ``count`` numbers of each channel.
        """
        return scaled(slice(None), *self.coefficients(variance, mean))

    def coefficients(self, variance: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift, ``[channels]`` each."""
        scale = self.weight * torch.rsqrt(variance + EPSILON)
        return scale, self.bias - mean * scale


class RunningStatistics(BatchStatistics):
    """Per-task running statistics: support rows are normalized by their own batch, query rows by a moving average.

    The average starts at the task's first support batch and belongs to the task, so nothing passes between tasks and
    no query sees another query.
    """

    def normalized(
        self, scaled: Scaled, variance: Tensor, mean: Tensor, count: Tensor | int, context: Context
    ) -> Tensor:
        current = torch.stack((variance, mean))
        past = context.running.get(self.name)
        average = current if past is None else past + MOMENTUM * (current - past)
        context.running[self.name] = average
        rows = scaled(slice(context.support), *self.coefficients(variance, mean))
        if context.support is None:
            return rows
        return torch.cat((rows, scaled(slice(context.support, None), *self.coefficients(average[0], average[1]))))


class GlobalStatistics(BatchStatistics):
    """Normalize by the statistics that the context holds, as an ordinary BatchNorm in evaluation; where it holds none,
    by those of the batch, and leave them there, the variance unbiased: as one in training.
    """

    def forward(self, x: Tensor, context: Context, weight: Tensor | None = None) -> Tensor:
        if weight is not None or self.name not in context.running:
            return super().forward(x, context, weight)
        spread = [-1] + [1] * (x.dim() - 2)
        scale, shift = self.coefficients(*context.running[self.name])
        return x * scale.view(spread) + shift.view(spread)

    def of_linear(self, weight: Tensor, x: Tensor, context: Context) -> Tensor:
        if self.name not in context.running:
            return super().of_linear(weight, x, context)
        scale, shift = self.coefficients(*context.running[self.name])
        return (weight * scale[:, None]) @ x + shift[:, None]

    def normalized(
        self, scaled: Scaled, variance: Tensor, mean: Tensor, count: Tensor | int, context: Context
    ) -> Tensor:
        others = max(count - 1, 1) if isinstance(count, int) else (count - 1).clamp(min=1)
        context.running[self.name] = torch.stack((variance * (count / others), mean))
        return super().normalized(scaled, variance, mean, count, context)


class GroupStatistics(nn.Module):
    """Group normalization (Wu & He 2018): each example by itself, in as many of 8 groups as divide the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(gcd(GROUPS, channels), channels)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return self.norm(x)


class NoNormalization(nn.Module):
    def forward(self, x: Tensor, context: Context) -> Tensor:
        return x


def statistics(x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Variance (biased) and mean ``[channels]`` of the rows of ``x`` ``[n, channels, ...]`` with ``mask`` 1."""
    axes = [axis for axis in range(x.dim()) if axis != 1]
    if mask is None:
        return torch.var_mean(x, dim=axes, correction=0)
    spread = [1, -1] + [1] * (x.dim() - 2)
    weight = mask.view([-1] + [1] * (x.dim() - 1)) / (mask.sum() * x[0, 0].numel())
    mean = (weight * x).sum(axes)
    return (weight * (x - mean.view(spread)).square()).sum(axes), mean


def examples(x: Tensor, mask: Tensor | None = None) -> Tensor | int:
    """How many numbers of each channel the rows of ``x`` ``[n, channels, ...]`` with ``mask`` 1 hold."""
    positions = x[0, 0].numel()
    return len(x) * positions if mask is None else mask.sum() * positions


def moments(x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Covariance (biased) ``[k, k]`` and mean ``[k]`` of the columns of the rows of ``x`` ``[n, k, positions]`` that
    ``mask`` selects.
    """
    rows = x.new_ones(len(x)) if mask is None else mask.to(x.dtype)
    weight = (rows / (rows.sum() * x.shape[2])).view(-1, 1, 1)
    mean = (weight * x).sum((0, 2))
    centered = x - mean[:, None]
    return torch.einsum("nkp,nlp->kl", weight * centered, centered), mean


def remembered(network: nn.Module) -> dict[str, Tensor]:
    """Where the running statistics of a network's `GlobalStatistics` start, as PyTorch's do: variance 1 and mean 0,
    ``[2, channels]`` by the name of the layer.
    """
    layers = [module for module in network.modules() if isinstance(module, GlobalStatistics)]
    return {
        layer.name: torch.stack((torch.ones_like(layer.bias), torch.zeros_like(layer.bias))).detach()
        for layer in layers
    }


def normalization(kind: str, channels: int, name: str) -> nn.Module:
    """The layer of that kind; ``name`` is unique in its network."""
    match kind:
        case "batch":
            return BatchStatistics(channels, name)
        case "running":
            return RunningStatistics(channels, name)
        case "global":
            return GlobalStatistics(channels, name)
        case "group":
            return GroupStatistics(channels)
        case "none":
            return NoNormalization()
    raise ValueError(f"no normalization {kind!r}; there are {', '.join(KINDS)}")
