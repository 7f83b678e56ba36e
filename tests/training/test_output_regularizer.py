"""The output regularizer against its formula."""

import pytest
import torch
from builders import MLP, build, moved, settings, task_of
from torch.utils._pytree import tree_leaves

from metarun.datasets.base import Dataset
from metarun.learner.learner import Learner, MetaParameters
from metarun.training.output_regularizer import OutputRegularizer

EMBEDDINGS = {
    "learned": ("embedding=learned", "embedding.size=4"),
    "support": ("embedding=support", "embedding.size=4", "embedding.hidden=8"),
}


def made(embedding: str) -> tuple[Learner, MetaParameters, Dataset]:
    dataset = settings("dataset=polynomials").dataset.load(0, torch.device("cpu"), torch.float64)
    learner, phi = build(dataset, *MLP, "hypernet=full", "hypernet.hidden=[16]", *EMBEDDINGS[embedding])
    return learner, phi, dataset


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_regularizer_is_the_change_of_earlier_initializations(embedding: str, chunk: int | None) -> None:
    """Mean over the groups behind of the mean over their tasks of the squared change, by a plain loop."""
    learner, phi, dataset = made(embedding)
    kept, now = moved(phi, 0.1), moved(phi, 0.3)
    behind = [dataset.sample("train", 0, 3, 0), dataset.sample("train", 0, 2, 1)]
    leaves = {group: {n: t.clone().requires_grad_() for n, t in tensors.items()} for group, tensors in now.items()}
    wanted = torch.zeros((), dtype=torch.float64)
    for tasks in behind:
        count = len(tasks.number)
        for number in range(count):
            task = task_of(tasks, number)
            old, new = (learner.start(at, task, testing=False) for at in (kept, leaves))
            wanted = wanted + sum((new[n] - old[n].detach()).square().sum() for n in new) / count / 2
    gradients = torch.autograd.grad(wanted, tree_leaves(leaves), allow_unused=True)
    gradient, value = OutputRegularizer(learner, kept, behind, chunk)(now)
    torch.testing.assert_close(value, wanted.detach(), rtol=1e-12, atol=0)
    for ours, theirs in zip(tree_leaves(gradient), gradients, strict=True):
        torch.testing.assert_close(ours, torch.zeros_like(ours) if theirs is None else theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_regularizer_is_zero_at_the_stored_phi(embedding: str) -> None:
    learner, phi, dataset = made(embedding)
    phi = moved(phi)
    gradient, value = OutputRegularizer(learner, phi, [dataset.sample("train", 0, 3, 0)])(phi)
    assert value == 0
    assert not any(tensor.any() for tensor in tree_leaves(gradient))


@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_embedding_outputs_are_regularized_as_well(embedding: str) -> None:
    learner, phi, dataset = made(embedding)
    phi = moved(phi, 0.3)
    drifted = {**phi, "embedding": moved(phi, 0.3)["embedding"]}
    gradient, value = OutputRegularizer(learner, phi, [dataset.sample("train", 0, 3, 0)])(drifted)
    assert value > 0
    assert all(tensor.any() for tensor in gradient["embedding"].values())
