"""A task model that computes in less than its parameters have."""

from dataclasses import replace

import pytest
import torch
from builders import CPU, build, settings, task_of
from torch.utils._pytree import tree_leaves

from metarun.engine.compile.compilation import apart
from metarun.engine.meta_gradient import MetaGradient
from metarun.learner.learner import Learner
from metarun.models.base import TaskModel

LETTERS = ("dataset=glyphs", "model.channels=8", "algorithm.inner_lr=0.1")


def reduced(learner: Learner) -> Learner:
    return replace(learner, model=replace(learner.model, compute=torch.bfloat16))


@pytest.mark.parametrize("normalization", ["batch", "running", "group", "none"])
def test_outputs_and_memories_keep_the_precision_of_the_parameters(normalization: str) -> None:
    chosen = settings(*LETTERS, f"model.normalization={normalization}", "device.precision=float32")
    dataset = chosen.dataset.load(0, CPU, torch.float32)
    learner, phi = build(dataset, *LETTERS, f"model.normalization={normalization}", "device.precision=float32")
    theta = {name: tensor.float() for name, tensor in phi["theta"].items()}
    task = task_of(dataset.sample("train", 0, 1), 0)
    model = reduced(learner).model
    loss, running = model.support_loss(theta, {}, {}, task.support)
    out = model.predict(theta, running, task.support, task.query.x)
    wanted = learner.model.predict(theta, running, task.support, task.query.x)
    assert {loss.dtype, out.dtype, *(tensor.dtype for tensor in running.values())} == {torch.float32}
    assert not torch.equal(out, wanted)
    torch.testing.assert_close(out, wanted, rtol=0, atol=0.05 * float(wanted.abs().max()))


def test_it_really_computes_in_less() -> None:
    """Every product of the network has 8 bits only."""
    seen = []

    class Network(torch.nn.Module):
        def forward(self, x: torch.Tensor, context: object) -> torch.Tensor:
            seen.append(x.dtype)
            return x

    learner, _ = build(settings(*LETTERS).dataset.load(0, CPU, torch.float32), *LETTERS)
    model: TaskModel = replace(reduced(learner).model, network=Network(), normalization="none")
    assert model.predict({}, {}, None, torch.ones(2, 3)).dtype == torch.float32  # type: ignore[arg-type]
    assert seen == [torch.bfloat16]


@pytest.mark.parametrize("order", [1, 2])
def test_meta_gradients_are_near_those_of_full_precision(order: int) -> None:
    """Without normalization; normalizing few rows amplifies rounding tenfold."""
    overrides = (*LETTERS, "model.normalization=none", f"algorithm.order={order}", "device.precision=float32")
    dataset = settings(*overrides).dataset.load(0, CPU, torch.float32)
    batch = dataset.sample("train", 0, 4)
    learner, phi = build(dataset, *overrides)
    gradient, _ = MetaGradient(reduced(learner), None, compiled=False)(phi, batch)
    wanted, _ = MetaGradient(learner, None, compiled=False)(phi, batch)
    assert all(tensor.dtype == torch.float32 for tensor in tree_leaves(gradient))
    assert 1e-4 < apart(gradient, wanted) < 0.05
