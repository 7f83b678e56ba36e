"""A table of task embeddings, one row for each task known in training (multi-task learning with a hypernetwork).

A task that is not in the table gets a row of its own at test, fitted on its support set while φ stands still.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import grad

from metarun.core.fields import number
from metarun.datasets.base import Problem
from metarun.embeddings.base import Embedding, EmbeddingInputs, Fit
from metarun.models.base import TaskModel
from metarun.models.inner_optimizer import InnerOptimizer, OptimizerState


@dataclass(kw_only=True)
class LearnedEmbedding:
    size: int = number(least=1, most=1_000_000)
    fit_steps: int = number(least=0)
    fit_lr: float = number(above=0)
    reads_labels = False
    knows_tasks = True

    def build(self, problem: Problem, model: TaskModel) -> Embedding:
        return EmbeddingTable(self, problem.known_tasks)


class EmbeddingTable(Embedding):
    def __init__(self, config: LearnedEmbedding, tasks: int) -> None:
        super().__init__()
        self.steps, self.rate = config.fit_steps, config.fit_lr
        self.optimizer = InnerOptimizer(name="adam", momentum=0.9, beta2=0.999)
        self.rows = nn.Parameter(torch.randn(tasks, config.size))

    def forward(self, seen: EmbeddingInputs, fit: Fit, testing: bool) -> Tensor:
        if not testing:
            return self._row(seen.identity)
        # Tasks are batched, known and unknown together: both ways are computed.
        known = seen.identity >= 0
        return torch.where(known, self._row(seen.identity.clamp(min=0)), self._fitted(fit))

    def _row(self, identity: Tensor) -> Tensor:
        return self.rows.index_select(0, identity[None])[0]

    def _fitted(self, fit: Fit) -> Tensor:
        """A row for a task of which only the support set is known, from the mean of the rows by ``fit_steps`` of Adam.

        A constant: nothing is differentiated through it.
        """
        row = self.rows.detach().mean(0)
        state: OptimizerState = {}
        for step in range(1, self.steps + 1):
            direction, state = self.optimizer.direction({"row": grad(fit)(row).detach()}, state, step)
            row = row - self.rate * direction["row"]
        return row
