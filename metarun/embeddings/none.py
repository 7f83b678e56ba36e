"""No task embedding."""

from dataclasses import dataclass

from torch import Tensor

from metarun.core.inputs import one_of
from metarun.datasets.base import Problem
from metarun.embeddings.base import Embedding, EmbeddingInputs, Fit
from metarun.models.base import TaskModel


@dataclass
class NoEmbedding:
    size = 0
    reads_labels = False
    knows_tasks = False

    def build(self, problem: Problem, model: TaskModel) -> Embedding:
        return Nothing()


class Nothing(Embedding):
    def forward(self, seen: EmbeddingInputs, fit: Fit, testing: bool) -> Tensor:
        return one_of(seen.support.x).new_zeros(0)
