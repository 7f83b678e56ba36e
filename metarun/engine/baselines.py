"""Trivial baselines: predictors from the raw inputs of an episode, without meta-learning.

Regression: ``support_mean``, the mean target of the support set, and ``ridge``, a ridge regression on the support set.
Classification: ``nearest_centroid`` and ``nearest_neighbor`` by Euclidean distance of the inputs, flattened, and
``majority_class``, the most frequent class of the support set. All are functions of one task, heed the masks of padded
examples, and compute in float64.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_leaves, tree_map

from metarun.core.inputs import flat
from metarun.core.kinds import TaskKind
from metarun.core.tasks import AnyExamples, Task, TaskBatch, chunks

LARGEST = 2**24
"""Input numbers of the tasks that are computed at once."""
PENALTIES = tuple(10 ** (power / 2) for power in range(-8, 9))
"""Penalties that ridge regression chooses from, in units of the mean sum of squares of the centered features."""
SINGULAR = 1e-9
"""A leave-one-out prediction that depends on the left-out target up to this much is not determined."""


def baselines(kind: TaskKind, tasks: TaskBatch) -> dict[str, Tensor]:
    """`TaskKind.baseline_metric` of each baseline on the queries of each task, ``[T]``, by the baseline's name."""
    each = max(1, LARGEST // (sum(tensor[0].numel() for part in tasks[:2] for tensor in tree_leaves(part.x))))
    one = vmap(partial(_measured, kind))
    parts = [one(part) for part in chunks(tasks, each)]
    joined: dict[str, Tensor] = tree_map(lambda *values: torch.cat(values), *parts)
    return joined


Method = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""From support inputs ``[n, d]``, support labels as features ``[n, targets]``, weights ``[n]`` (1, or 0 for padding)
and query inputs ``[q, d]`` to predictions ``[q, targets]``."""


def _measured(kind: TaskKind, task: Task) -> dict[str, Tensor]:
    x, queries = _flat(task.support), _flat(task.query)
    weight = torch.ones_like(x[:, 0]) if task.support.mask is None else task.support.mask.double()
    y = kind.encode_labels(task.support.y, torch.float64)
    metric, truth = kind.baseline_metric, task.query
    return {
        name: kind.point.metrics(METHODS[name](x, y, weight, queries), _exact(truth.y), truth.mask)[metric]
        for name in kind.baselines
    }


def _flat(examples: AnyExamples) -> Tensor:
    """Inputs ``[n, d]``; 0 for what is not finite, since its decomposition would end the run."""
    return flat(examples.x).double().nan_to_num(nan=0, posinf=0, neginf=0)


def _exact(y: Tensor) -> Tensor:
    """Targets in the precision of the predictions; class numbers as they are."""
    return y.double() if y.is_floating_point() else y


def support_mean(x: Tensor, y: Tensor, weight: Tensor, queries: Tensor) -> Tensor:
    return _mean(y, weight).expand(len(queries), -1)


def ridge(x: Tensor, y: Tensor, weight: Tensor, queries: Tensor) -> Tensor:
    """Ridge regression with an unpenalized intercept.

    Of `PENALTIES` each output has the one with the least squared leave-one-out error on the support set, of equals the
    largest. In the singular basis of the centered inputs, all of these errors are residual / (1 - leverage).
    """
    middle, level = _mean(x, weight), _mean(y, weight)
    centered, targets = (x - middle) * weight[:, None], (y - level) * weight[:, None]
    left, values, right = torch.linalg.svd(centered, full_matrices=False)
    squares = values.square()
    unit = (squares.sum() / x.shape[1]).clamp(min=torch.finfo(x.dtype).tiny)
    penalties = unit * torch.tensor(PENALTIES, dtype=x.dtype, device=x.device)
    kept = squares / (squares + penalties[:, None])  # [penalties, k]
    scores = left.T @ targets  # [k, outputs]
    residuals = targets - torch.einsum("nk,pk,ko->pno", left, kept, scores)
    leverages = 1 / weight.sum() + torch.einsum("nk,pk->pn", left.square(), kept)
    free = (1 - leverages)[..., None]
    left_out = torch.where(free > SINGULAR, residuals / free.clamp(min=SINGULAR), torch.inf)
    errors = torch.where(weight[:, None] > 0, left_out, 0)
    error = errors.square().sum(1)  # [penalties, outputs]
    best = len(PENALTIES) - 1 - error.flip(0).argmin(0)
    shrunk = (values / (squares + penalties[:, None]))[best]  # [outputs, k]
    coefficients = right.T @ (shrunk.T * scores)  # [d, outputs]
    return (queries - middle) @ coefficients + level


def nearest_centroid(x: Tensor, y: Tensor, weight: Tensor, queries: Tensor) -> Tensor:
    """The class of the nearest mean, among classes that the support set has."""
    members = y * weight[:, None]
    count = members.sum(0)
    centroids = members.T @ x / count.clamp(min=1)[:, None]
    return _chosen(torch.where(count > 0, _distances(queries, centroids), torch.inf), torch.eye(len(count)).to(y))


def nearest_neighbor(x: Tensor, y: Tensor, weight: Tensor, queries: Tensor) -> Tensor:
    """The class of the nearest support example, of equals the first."""
    return _chosen(torch.where(weight > 0, _distances(queries, x), torch.inf), y)


def majority_class(x: Tensor, y: Tensor, weight: Tensor, queries: Tensor) -> Tensor:
    """The most frequent class of the support set, of equals the first."""
    count = (y * weight[:, None]).sum(0)
    return _chosen(-count.expand(len(queries), -1), torch.eye(len(count)).to(y))


METHODS: dict[str, Method] = {
    "support_mean": support_mean,
    "ridge": ridge,
    "nearest_centroid": nearest_centroid,
    "nearest_neighbor": nearest_neighbor,
    "majority_class": majority_class,
}


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Of the rows, ``[columns]``."""
    return weight @ values / weight.sum()


def _distances(queries: Tensor, points: Tensor) -> Tensor:
    """Squared distances ``[q, n]``, as far as they differ between points.

    Around the mean of the points, or what all have in common would take the digits in which they differ.
    """
    middle = points.mean(0)
    queries, points = queries - middle, points - middle
    return points.square().sum(1) - 2 * queries @ points.T


def _chosen(distances: Tensor, labels: Tensor) -> Tensor:
    """For each row of ``distances`` ``[q, n]`` the label of the least: rows of ``labels`` ``[n, outputs]``."""
    return labels[distances.argmin(1)]
