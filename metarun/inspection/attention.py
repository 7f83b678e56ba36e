"""Attention weights of support examples in the predictions of a few tasks."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from metarun.algorithms.on_features import Attending
from metarun.datasets.base import Dataset
from metarun.engine.evaluation import episodes_of
from metarun.learner.learner import Learner, MetaParameters

TASKS = 4
"""Maximum number of tasks shown."""


@dataclass(frozen=True)
class Attended:
    """Of one task, on CPU, without rows that fill up and in the order of the labels.

    weights: of s support examples in the predictions for q queries, ``[q, s]``. support, query: their labels, ``[s]``
    and ``[q]``, of several targets the first. right: which predictions are the label, ``[q]``, or ``None`` where
    labels are no classes. told: what the dataset says of the task.
    """

    weights: Tensor
    support: Tensor
    query: Tensor
    right: Tensor | None
    told: str


def attended(learner: Learner, phi: MetaParameters, dataset: Dataset, stream: str) -> list[Attended]:
    """The first tasks of a stream. The learner's algorithm is one that attends."""
    model, params, algorithm = learner.for_task(phi), phi["algorithm"], learner.algorithm
    assert isinstance(algorithm, Attending)
    tasks = episodes_of(dataset, stream, TASKS)
    batch = dataset.sample(stream, 0, tasks)
    facts = dataset.facts(stream, batch)
    every_draws = learner.draws(batch, testing=True, progress=1.0)
    seen = []
    for number in range(tasks):
        task, draws = tree_map(lambda tensor, number=number: tensor[number], (batch, every_draws))
        support, query = task.support, task.query
        with torch.no_grad():
            theta = learner.start(phi, task, testing=True)
            state = algorithm.adapt(model, params, theta, support, draws, testing=True)
            weights = algorithm.attention(model, params, state, support, query.x, query.mask)
            prediction = algorithm.predict(model, params, state, support, query.x, query.mask)
        rows, columns = _ordered(query.y, query.mask), _ordered(support.y, support.mask)
        right = model.kind.decision(prediction) == query.y if model.kind.by_class else None
        seen.append(
            Attended(
                weights=weights[rows][:, columns].cpu(),
                support=_first(support.y)[columns].cpu(),
                query=_first(query.y)[rows].cpu(),
                right=None if right is None else right[rows].cpu(),
                told="  ".join(fact[number] for fact in facts.values()),
            )
        )
    return seen


def _first(y: Tensor) -> Tensor:
    return y.view(len(y), -1)[:, 0]


def _ordered(y: Tensor, mask: Tensor | None) -> Tensor:
    """The numbers of the rows that are examples, in the order of their labels."""
    order = _first(y).argsort(stable=True)
    return order if mask is None else order[mask[order] > 0]
