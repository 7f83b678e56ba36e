"""An encoder of the task descriptor: e_t without the examples."""

from dataclasses import dataclass

from torch import Tensor, nn

from metarun.core.errors import UserError
from metarun.core.fields import number
from metarun.datasets.base import Problem
from metarun.embeddings.base import Embedding, EmbeddingInputs, Fit
from metarun.models.base import TaskModel


@dataclass(kw_only=True)
class DescriptorEmbedding:
    size: int = number(least=1, most=1_000_000)
    hidden: int = number(least=1, most=1_000_000)
    reads_labels = False
    knows_tasks = False

    def build(self, problem: Problem, model: TaskModel) -> Embedding:
        if not problem.descriptor_size:
            raise UserError(
                f"embedding=descriptor: dataset={problem.name} gives no features of a task; use embedding=support, "
                "which looks at its support set"
            )
        return DescriptorEncoder(self, problem.descriptor_size)


class DescriptorEncoder(Embedding):
    def __init__(self, config: DescriptorEmbedding, features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.size)
        )

    def forward(self, seen: EmbeddingInputs, fit: Fit, testing: bool) -> Tensor:
        return self.layers(seen.descriptor)
