"""The encoder of support sets."""

import warnings

import pytest
import torch
from task_embeddings import built, one, tasks
from torch.func import vmap

from metarun.core.errors import UserError
from metarun.embeddings.support import image_features


@pytest.mark.parametrize(("pooling", "heads"), [("mean", 1), ("attention", 4)])
def test_attention_weights_of_examples(pooling: str, heads: int) -> None:
    encoder, seen = built("support", pooling=pooling), one(tasks(), 1)
    weights = encoder.weights(seen).detach()
    assert weights.shape == (heads, 6)
    torch.testing.assert_close(weights.sum(1), torch.ones(heads, dtype=torch.float64))
    assert torch.equal(weights[:, 4:], torch.zeros(heads, 2, dtype=torch.float64))
    if pooling == "mean":
        assert torch.equal(weights[0, :4], torch.full((4,), 0.25, dtype=torch.float64))
    else:
        assert weights[:, :4].std(1).min() > 1e-3
        assert (weights[0] - weights[1]).abs().max() > 1e-3


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(UserError, match=r"embedding\.heads=5: .* embedding\.hidden=64;"):
        built("support", pooling="attention", heads=5)
    built("support", pooling="mean", heads=5)


def test_images_are_batched_for_any_memory_layout() -> None:
    """Images are often read as (height, width, channels) and turned; PyTorch warns of what it computes in a loop."""
    features, x = image_features(3, 4), torch.randn(2, 5, 28, 28, 3).movedim(-1, 2)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        found = vmap(features)(x)
        torch.testing.assert_close(found, vmap(features)(x.contiguous()))
    torch.testing.assert_close(found, torch.stack([features[:-1](task).mean((-2, -1)) for task in x]))
