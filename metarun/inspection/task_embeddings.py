"""Task embeddings and the parameters generated from them, before adaptation."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metarun.core.tasks import Task
from metarun.datasets.base import Dataset
from metarun.embeddings.base import EmbeddingInputs
from metarun.engine.evaluation import EPISODES_AT_ONCE
from metarun.engine.over_tasks import over_tasks
from metarun.learner.learner import Learner, MetaParameters


@dataclass(frozen=True)
class TaskEmbeddings:
    """Embeddings of T tasks of a stream, on the CPU.

    embeddings: e_t ``[T, size]``. norms: of every generated tensor, its norm in θ_t⁰ ``[T]``. attention: weights
    ``[T, heads, s]`` of the support examples in e_t, or ``None`` if the embedding has no attention. labels: of the
    support examples, ``[T, s, ...]``; mask: 0 for padding, ``[T, s]``, or ``None``: no padding. facts: metadata of the
    tasks from the dataset, by name.
    """

    embeddings: Tensor
    norms: dict[str, Tensor]
    attention: Tensor | None
    labels: Tensor
    mask: Tensor | None
    facts: dict[str, list[str]]


def task_embeddings(
    learner: Learner, phi: MetaParameters, dataset: Dataset, stream: str, tasks: int, chunk: int | None = None
) -> TaskEmbeddings:
    """Embed the first ``tasks`` tasks of a stream, ``chunk`` at once."""
    size = min(chunk or EPISODES_AT_ONCE, tasks)
    weigh = hasattr(learner.embedding, "weights")
    attending = _Weights(learner.embedding) if weigh else None

    def embed(phi: MetaParameters, task: Task) -> dict[str, Tensor]:
        embedding = learner.embed(phi, task, testing=True)
        start = learner.generate(phi, embedding)
        seen = {f"norm {name}": start[name].norm() for name in sorted(learner.hypernet.generated)}
        if attending is not None:
            parameters = {f"embedding.{name}": tensor for name, tensor in phi["embedding"].items()}
            seen["attention"] = functional_call(attending, parameters, (learner.embedding_inputs(task),))
        if task.support.mask is not None:
            seen["mask"] = task.support.mask
        return {"embedding": embedding, "labels": task.support.y, **seen}

    parts: list[dict[str, Tensor]] = []
    facts: dict[str, list[str]] = {}
    with torch.no_grad():
        for first in range(0, tasks, size):
            batch = dataset.sample(stream, first // size, size)
            parts.append(over_tasks(embed)(phi, batch))
            for name, values in dataset.facts(stream, batch).items():
                facts.setdefault(name, []).extend(values)
    found = {name: torch.cat([part[name] for part in parts])[:tasks].cpu() for name in parts[0]}
    return TaskEmbeddings(
        embeddings=found["embedding"],
        norms={name.removeprefix("norm "): value for name, value in found.items() if name.startswith("norm ")},
        attention=found.get("attention"),
        labels=found["labels"],
        mask=found.get("mask"),
        facts={name: values[:tasks] for name, values in facts.items()},
    )


class _Weights(nn.Module):
    """The attention weights of an embedding, as a module, to be called with explicit parameters."""

    def __init__(self, embedding: nn.Module) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, seen: EmbeddingInputs) -> Tensor:
        weights: Tensor = self.embedding.weights(seen)  # type: ignore[operator]
        return weights
