"""The encoder of support sets."""

import pytest
import torch
from builders import CONV, HYPERNET, MLP, Blobs, build, task_of, waves

from metarun.datasets.base import Dataset
from metarun.tasks import Examples


@pytest.mark.parametrize(("dataset", "model"), [(Blobs(), CONV), (waves(), MLP)], ids=["images", "numbers"])
def test_a_set_has_neither_order_nor_multiplicity(dataset: Dataset, model: tuple[str, ...]) -> None:
    learner, phi = build(dataset, *model, *HYPERNET)
    batch = dataset.sample("train", 0, 2)
    support = task_of(batch, 0).support
    e = learner.embed(phi, support)
    assert e.shape == (4,)
    order = torch.randperm(len(support.y), generator=torch.Generator().manual_seed(0))
    shuffled = Examples(support.x[order], support.y[order])
    twice = Examples(*(torch.cat((part, part)) for part in support))
    for same in (shuffled, twice):
        torch.testing.assert_close(learner.embed(phi, same), e, rtol=0, atol=1e-12)
    for other in (task_of(batch, 1).support, Examples(support.x, support.y.roll(1, 0))):
        assert (learner.embed(phi, other) - e).abs().max() > 1e-6


def test_none_is_empty() -> None:
    learner, phi = build(Blobs(), *CONV)
    assert learner.embed(phi, task_of(Blobs().sample("train", 0, 1), 0).support).shape == (0,)
