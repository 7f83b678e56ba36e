"""Confusion matrix over many tasks whose classes differ."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metarun.engine.evaluation import EvaluationResult

MOST = 16
"""Classes in the figure."""


@dataclass(frozen=True)
class Confusion:
    """Of k classes, true ones as rows and guessed ones as columns.

    taken: how many queries of the one were taken for the other, int64 ``[k, k]``. asked: how many queries of the one
    there were in tasks that hold the other too, and so could have been, ``[k, k]``. names: theirs. classes, errors: how
    many classes and wrong guesses there were in all.
    """

    taken: Tensor
    asked: Tensor
    names: tuple[str, ...]
    classes: int
    errors: int


def confusion(episodes: EvaluationResult, names: tuple[str, ...], most: int) -> Confusion | None:
    """Of the ``most`` classes, if there are more, that the most frequent confusions are between.

    ``names``: of all the stream's classes. ``None`` where classes have none that mean the same in every task, or where
    there is no query.
    """
    if not names or not episodes.answers:
        return None
    label, guess = episodes.answers["label"], episodes.answers["guess"]
    classes = episodes.classes
    if not classes.shape[1]:  # a label is a class
        classes = torch.arange(len(names)).expand(len(label), -1)
    mask = label >= 0
    truth, taken_for = (classes.gather(1, places.clamp(min=0))[mask] for places in (label, guess))
    wrong = truth != taken_for
    # Of pairs that are as frequent as each other, the first by number.
    pairs, counts = (truth * len(names) + taken_for)[wrong].unique(return_counts=True)
    frequent = pairs[counts.argsort(descending=True, stable=True)]
    involved = torch.stack((frequent // len(names), frequent % len(names)), 1).flatten()
    others = torch.arange(len(names))[torch.bincount(truth, minlength=len(names)) > 0]
    chosen = torch.tensor(sorted(list(dict.fromkeys(involved.tolist() + others.tolist()))[:most]), dtype=torch.int64)
    if not len(chosen):
        return None
    place = torch.full((len(names),), -1)
    place[chosen] = torch.arange(len(chosen))
    rows, columns = place[truth], place[taken_for]
    both = (rows >= 0) & (columns >= 0)
    size = len(chosen)
    taken = torch.bincount(rows[both] * size + columns[both], minlength=size * size).view(size, size)
    return Confusion(
        taken=taken,
        asked=_asked(label, classes, place, size),
        names=tuple(names[number] for number in chosen.tolist()),
        classes=len(truth.unique()),
        errors=int(wrong.sum()),
    )


def _asked(label: Tensor, classes: Tensor, place: Tensor, size: int) -> Tensor:
    """Queries of each chosen class in tasks that hold each other, ``[size, size]``; ``place``: of classes, or -1."""
    queries = torch.zeros(classes.shape, dtype=torch.int64)
    queries.scatter_add_(1, label.clamp(min=0), (label >= 0).long())
    at = place[classes]
    kept = at >= 0
    episode = torch.arange(len(classes))[:, None].expand_as(at)[kept]
    present, count = (torch.zeros(len(classes), size, dtype=torch.float64) for _ in range(2))
    present[episode, at[kept]] = 1
    count[episode, at[kept]] = queries[kept].double()
    return (count.T @ present).long()
