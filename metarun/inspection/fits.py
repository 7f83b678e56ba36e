"""The functions of a few tasks before and after adaptation, for scalar x and y."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metarun.core.inputs import one_of
from metarun.datasets.base import Dataset, KnowsFunctions
from metarun.engine.evaluation import episodes_of
from metarun.inspection.predictions import predictions_before_and_after
from metarun.learner.learner import Learner, MetaParameters

POINTS = 161
"""At which a function is drawn."""


@dataclass(frozen=True)
class Fit:
    """Of one task, on CPU: each a curve or points ``(x [n], y [n])``, curves in the order of x.

    before: ``None`` where the learner does not adapt by steps. truth: ``None`` where the dataset doesn't know it. told:
    what the dataset says of the task.
    """

    support: tuple[Tensor, Tensor]
    query: tuple[Tensor, Tensor]
    before: tuple[Tensor, Tensor] | None
    after: tuple[Tensor, Tensor]
    truth: tuple[Tensor, Tensor] | None
    told: str


def draws_functions(learner: Learner) -> bool:
    """Whether its tasks are functions of one number."""
    problem = learner.problem
    return problem.inputs.shape == (1,) and not problem.kind.by_class and problem.kind.targets == 1


def fits(learner: Learner, phi: MetaParameters, dataset: Dataset, stream: str, tasks: int, at_once: int) -> list[Fit]:
    """The first ``tasks`` tasks of a stream, or all if there are fewer.

    Functions are drawn between the least and the largest x of a task; of a transductive run, whose predictions depend
    on which queries it is asked together, through the task's own queries instead.
    """
    count = episodes_of(dataset, stream, tasks)
    batch = dataset.sample(stream, 0, count)
    support, query = batch.support, batch.query
    support_x, query_x = one_of(support.x), one_of(query.x)
    every_x = torch.cat([_known(x.squeeze(-1), part.mask) for x, part in ((support_x, support), (query_x, query))], 1)
    known = [row[row.isfinite()].double() for row in every_x]
    low, high = torch.stack([row.amin() for row in known]), torch.stack([row.amax() for row in known])
    fractions = torch.linspace(0, 1, POINTS, dtype=torch.float64, device=low.device)
    grid = low[:, None] + (high - low)[:, None] * fractions
    x, mask = grid.to(every_x.dtype).unsqueeze(-1), None
    if learner.model.transductive:
        x, mask = query_x, query.mask
    before, after = predictions_before_and_after(learner, phi, batch, x, mask, at_once)
    truth = dataset.values(stream, batch.number, grid) if isinstance(dataset, KnowsFunctions) else None
    facts = dataset.facts(stream, batch)
    adapts = learner.algorithm.steps(testing=True) > 0
    return [
        Fit(
            support=_points(support_x[task], support.y[task], _row(support.mask, task)),
            query=_points(query_x[task], query.y[task], _row(query.mask, task)),
            before=_points(x[task], before[task], _row(mask, task)) if adapts else None,
            after=_points(x[task], after[task], _row(mask, task)),
            truth=None if truth is None else _points(grid[task], truth[task], None),
            told="  ".join(f"{name} {fact[task]}" for name, fact in facts.items()),
        )
        for task in range(count)
    ]


def _known(x: Tensor, mask: Tensor | None) -> Tensor:
    """``x`` ``[T, n]``, with NaN where it fills up."""
    return x if mask is None else x.masked_fill(mask == 0, torch.nan)


def _row(mask: Tensor | None, task: int) -> Tensor | None:
    return None if mask is None else mask[task]


def _points(x: Tensor, y: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Those that are any, in the order of x."""
    x, y = x.flatten().cpu(), y.flatten().cpu()
    order = x.argsort(stable=True)
    kept = order if mask is None else order[mask.cpu()[order] > 0]
    return x[kept], y[kept]
