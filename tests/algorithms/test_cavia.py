"""CAVIA against its two equations, and that it has to do with nothing but the context."""

import pytest
import torch
from builders import CONV, MLP, Blobs, algorithm, build, moved, task_of, waves
from torch.func import functional_call

from metarun.core.errors import UserError
from metarun.engine.meta_gradient import MetaGradient
from metarun.models.base import CONTEXT
from metarun.models.normalization import Context


@pytest.mark.parametrize("problem", ["classification", "regression"])
def test_the_meta_gradient_is_that_of_a_loop_over_the_context_alone(problem: str) -> None:
    """c from 0 by ∇_c L_S (equation 3), then ∇_θ L_Q(θ, c) through it (equation 5), with `torch.autograd`."""
    dataset, model = (Blobs(), CONV) if problem == "classification" else (waves(), MLP)
    learner, phi = build(dataset, *model, "algorithm=cavia", inner_lr=0.5, inner_steps=2, contexts=3)
    phi, batch = moved(phi), dataset.sample("train", 0, 3)
    theta = {n: t.clone().requires_grad_() for n, t in phi["theta"].items() if n != CONTEXT}
    network, loss = learner.model.network, learner.model.kind.loss
    total = torch.zeros((), dtype=torch.float64)
    for number in range(3):
        (x, y), (xq, yq), *_ = task_of(batch, number)
        c = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        for _ in range(2):
            value = loss(functional_call(network, {**theta, CONTEXT: c}, (x, Context())), y)
            c = c - 0.5 * torch.autograd.grad(value, c, create_graph=True)[0]
        out = functional_call(network, {**theta, CONTEXT: c}, (torch.cat((x, xq)), Context(len(x))))
        total = total + loss(out[len(x) :], yq) / 3
    wanted = torch.autograd.grad(total, list(theta.values()))
    found, _ = MetaGradient(learner, None, compiled=False)(phi, batch)
    for (name, part), found_part in zip(
        zip(theta, wanted, strict=True), (found["theta"][n] for n in theta), strict=True
    ):
        torch.testing.assert_close(found_part, part, rtol=1e-9, atol=1e-11, msg=name)
    assert not found["theta"][CONTEXT].any(), "the context starts at 0 whatever is learned"


def test_the_inner_loop_moves_the_context_alone() -> None:
    dataset = waves()
    learner, phi = build(dataset, *MLP, "algorithm=cavia", inner_lr=0.5, inner_steps=2, contexts=5)
    support = task_of(dataset.sample("test", 0, 1), 0).support
    end = learner.algorithm.adapt(learner.model, {}, phi["theta"], support, {}).theta
    assert end[CONTEXT].shape == (5,)
    assert end[CONTEXT].any()
    for name, tensor in phi["theta"].items():
        assert name == CONTEXT or torch.equal(tensor, end[name])


def test_there_must_be_a_context() -> None:
    with pytest.raises(UserError, match=r"algorithm\.contexts=0: nothing else adapts"):
        algorithm("cavia", contexts=0)
