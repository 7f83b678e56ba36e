"""No task embedding: every task looks the same."""

from dataclasses import dataclass

from torch import Tensor, nn

from metarun.datasets.base import Dataset
from metarun.embeddings.base import Fit, Seen
from metarun.models.base import TaskModel


@dataclass
class NoEmbedding:
    size = 0
    reads_labels = False

    def build(self, dataset: Dataset, model: TaskModel) -> nn.Module:
        return Nothing()


class Nothing(nn.Module):
    def forward(self, seen: Seen, fit: Fit, testing: bool) -> Tensor:
        return seen.support.x.new_zeros(0)
