"""Embeddings, and small tasks as their inputs."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from builders import settings
from torch import Tensor, nn

from metarun.core.inputs import InputSpec
from metarun.core.kinds import Classification, Regression, TaskKind
from metarun.core.tasks import PaddedExamples
from metarun.embeddings.base import EmbeddingInputs
from metarun.models.base import TaskModel

IMAGES = (1, 8, 8)
NUMBERS = (3,)
KNOWN, DESCRIPTOR = 6, 2


def kind_for(shape: tuple[int, ...]) -> TaskKind:
    """Images are classified, numbers regressed on."""
    return Classification(3) if shape == IMAGES else Regression(2)


def built(option: str, shape: tuple[int, ...] = NUMBERS, head: bool = True, **changes: Any) -> nn.Module:
    """The float64 embedding ``option`` of length 4, its keys changed, for a dataset that offers everything."""
    torch.manual_seed(0)
    kind = kind_for(shape)
    dataset = SimpleNamespace(name="made", inputs=InputSpec.of(shape), known_tasks=KNOWN, descriptor_size=DESCRIPTOR)
    if shape == IMAGES:
        model = settings("model=conv4", "model.channels=4", "model.layers=2", "model.normalization=batch").model
    else:
        model = settings("model=mlp", "model.hidden=[5,5]", "model.normalization=none").model
    network = model.build(InputSpec.of(shape), kind.outputs if head else None)
    config = replace(settings(f"embedding={option}").embedding, size=4, **changes)
    return config.build(dataset, TaskModel(network, kind, model.normalization, transductive=False)).double()


def tasks(shape: tuple[int, ...] = NUMBERS, padding: int = 2, content: float = 0.0) -> EmbeddingInputs:
    """Four tasks stacked, the odd ones with ``padding`` rows of six that are none and hold ``content``."""
    generator = torch.Generator().manual_seed(1)

    def drawn(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64)

    kind, x = kind_for(shape), drawn(4, 6, *shape)
    y = torch.arange(6).remainder(3).expand(4, 6) if shape == IMAGES else drawn(4, 6, 2)
    mask = torch.ones(4, 6, dtype=torch.float64)
    if padding:
        mask[1::2, -padding:] = 0
    x = torch.where(mask.view(4, 6, *[1] * len(shape)) > 0, x, content)
    y = y if shape == IMAGES else torch.where(mask[..., None] > 0, y, content)
    labels = torch.stack([kind.encode_labels(each, torch.float64) for each in y])
    return EmbeddingInputs(PaddedExamples(x, y, mask), labels, torch.tensor([0, 3, -1, 5]), drawn(4, DESCRIPTOR))


def one(seen: EmbeddingInputs, number: int) -> EmbeddingInputs:
    """One of the tasks, padding and all."""
    support = PaddedExamples(*(part[number] for part in seen.support))
    return EmbeddingInputs(support, seen.labels[number], seen.identity[number], seen.descriptor[number])


def rows(seen: EmbeddingInputs, picked: Tensor) -> EmbeddingInputs:
    """One task with these rows for its support set."""
    return seen._replace(support=seen.support.rows(picked), labels=seen.labels[picked])
