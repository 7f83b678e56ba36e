"""Predictions for a few tasks before and after adaptation, for figures."""

import torch
from torch import Tensor

from metarun.algorithms.base import Draws
from metarun.core.inputs import Inputs, rows_of
from metarun.core.tasks import Task, TaskBatch, chunks
from metarun.engine.over_tasks import over_tasks
from metarun.learner.learner import Learner, MetaParameters


def predictions_before_and_after(
    learner: Learner, phi: MetaParameters, tasks: TaskBatch, x: Inputs, mask: Tensor | None, at_once: int
) -> tuple[Tensor, Tensor]:
    """Predictions ``[T, q, outputs]`` for q inputs ``x`` of each task at θ_t⁰ and at θ_t', ``at_once`` tasks at once.

    ``mask`` ``[T, q]``: 0 for padding; ``None``: no padding. On the device.
    """
    algorithm = learner.algorithm

    def predicted(phi: MetaParameters, task: Task, draws: Draws, x: Inputs, mask: Tensor | None) -> tuple[Tensor, ...]:
        params, start = phi["algorithm"], learner.start(phi, task, testing=True)
        model = learner.for_task(phi)
        states = (
            algorithm.initial_state(params, start),
            algorithm.adapt(model, params, start, task.support, draws, testing=True),
        )
        return tuple(algorithm.predict(model, params, state, task.support, x, mask) for state in states)

    parts = []
    with torch.no_grad():
        for first, part in zip(range(0, len(tasks.number), at_once), chunks(tasks, at_once), strict=True):
            of = slice(first, first + at_once)
            draws = learner.draws(part, testing=True, progress=1.0)
            masks = None if mask is None else mask[of]
            parts.append(over_tasks(predicted)(phi, part, draws, rows_of(x, of), masks))
    before, after = (torch.cat(each) for each in zip(*parts, strict=True))
    return before, after
