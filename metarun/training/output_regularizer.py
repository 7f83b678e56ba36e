"""The output regularizer against forgetting (von Oswald et al. 2020, "Continual learning with hypernetworks", eq. 2).

Before each group of tasks but the first, φ is kept as φ*. While the group is learned, the starts that tasks of the
groups behind get shall stay what they were:

    Ω = mean over groups behind of mean over some tasks t of each of ‖θ_t⁰(φ*) - θ_t⁰(φ + Δφ)‖²

where Δφ is the step that the loss alone would take, held constant. The paper's e_t are rows of a table, which stay as
they are; here whatever makes e_t is held on to as well.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import grad_and_value

from metarun.core.tasks import TaskBatch
from metarun.engine.over_tasks import over_tasks
from metarun.learner.learner import Learner, MetaParameters
from metarun.models.base import Parameters
from metarun.regularizers.penalties import squares


class OutputRegularizer:
    """Ω and its gradient; one object serves one group, for it keeps what φ* made of tasks of each group behind.

    chunk: tasks computed at once; ``None``: all.
    """

    def __init__(
        self, learner: Learner, kept: MetaParameters, behind: Sequence[TaskBatch], chunk: int | None = None
    ) -> None:
        def started(phi: MetaParameters, task: TaskBatch) -> Parameters:
            return learner.start(phi, task, testing=False)

        starts = over_tasks(started, at_once=chunk)
        with torch.no_grad():
            wanted = [starts(kept, tasks) for tasks in behind]

        def change(phi: MetaParameters) -> Tensor:
            parts = []
            for tasks, old in zip(behind, wanted, strict=True):
                new = starts(phi, tasks)
                parts.append(squares({name: new[name] - old[name] for name in new}) / len(tasks.number))
            return torch.stack(parts).mean()

        self._change = grad_and_value(change)

    def __call__(self, phi: MetaParameters) -> tuple[MetaParameters, Tensor]:
        """∇Ω at ``phi``, which is φ + Δφ, and Ω there."""
        gradient, value = self._change(phi)
        return gradient, value
