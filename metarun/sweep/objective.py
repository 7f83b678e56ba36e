"""By what a sweep judges: a meta-val metric that its runs will have."""

import torch

from metarun.core.errors import UserError
from metarun.core.names import nearest
from metarun.datasets.base import problem
from metarun.setup.settings import Settings


def direction(settings: Settings, objective: str | None) -> bool:
    """Whether more is better of the objective (``None``: the run's own metric).

    Loads the dataset first, so that whatever a run would download or draw is there before several begin. Raises
    `UserError` for a metric that runs of these settings don't have.
    """
    dataset = settings.load_dataset(torch.device("cpu"))
    kind = problem(dataset, settings.likelihood).kind
    y = dataset.sample("val", 0, 1).query.y[0]
    metrics = list(kind.metrics(torch.zeros(len(y), kind.outputs, dtype=settings.device.dtype), y))
    objective = objective or kind.metric
    if objective not in metrics:
        raise UserError(
            f"sweep.objective={objective}: no such metric{nearest(objective, metrics)} (these runs have "
            f"{', '.join(metrics)})"
        )
    higher_is_better = kind.directions[objective]
    if higher_is_better is None:
        raise UserError(f"sweep.objective={objective}: has no direction; use {kind.metric}")
    return higher_is_better
