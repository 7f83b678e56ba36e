"""The encoder of a task's descriptor."""

from types import SimpleNamespace

import pytest
import torch
from builders import settings
from task_embeddings import built, one, tasks

from metarun.core.errors import UserError


def test_it_looks_at_the_descriptor_alone() -> None:
    encoder, seen = built("descriptor"), tasks()
    first, second = one(seen, 0), one(seen, 1)
    e = encoder(first, None, False)
    assert e.shape == (4,)
    assert torch.equal(encoder(second._replace(descriptor=first.descriptor), None, True), e)
    assert (encoder(second, None, False) - e).abs().max() > 1e-6


def test_dataset_without_descriptor_is_refused() -> None:
    config = settings("embedding=descriptor").embedding
    with pytest.raises(UserError, match=r"^embedding=descriptor: dataset=glyphs gives no .*use embedding=support"):
        config.build(SimpleNamespace(name="glyphs", descriptor_size=0), None)
