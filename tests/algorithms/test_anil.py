"""ANIL: MAML whose inner loop moves the head alone."""

import pytest
import torch
from builders import CONV, Blobs, algorithm, build, task_of
from torch.func import functional_call

from metarun.core.errors import UserError
from metarun.engine.meta_gradient import MetaGradient
from metarun.models.normalization import Context


def test_the_inner_loop_moves_the_head_and_nothing_else() -> None:
    learner, phi = build(Blobs(), *CONV, "algorithm=anil", inner_steps=3)
    task = task_of(Blobs().sample("train", 0, 1), 0)
    state = learner.algorithm.adapt(learner.model, {}, phi["theta"], task.support, {})
    for name, tensor in phi["theta"].items():
        assert torch.equal(state.theta[name], tensor) != name.startswith("head."), name


def test_the_meta_gradient_is_that_of_a_linear_model_on_features() -> None:
    """Written out with autograd: features once, gradient steps on the head, and the query loss through both."""
    learner, phi = build(Blobs(), *CONV, "algorithm=anil", inner_steps=3, inner_lr=0.2)
    batch = Blobs().sample("train", 0, 1)
    task = task_of(batch, 0)
    theta = {name: tensor.clone().requires_grad_() for name, tensor in phi["theta"].items()}
    network, loss = learner.model.network, learner.model.kind.loss
    weight, bias = theta["head.weight"], theta["head.bias"]
    for _ in range(3):
        moving = {**theta, "head.weight": weight, "head.bias": bias}
        value = loss(functional_call(network, moving, (task.support.x, Context())), task.support.y)
        g, h = torch.autograd.grad(value, [weight, bias], create_graph=True)
        weight, bias = weight - 0.2 * g, bias - 0.2 * h
    moving = {**theta, "head.weight": weight, "head.bias": bias}
    both = torch.cat((task.support.x, task.query.x))
    rows = len(task.support.x)
    queries = functional_call(network, moving, (both, Context(support=rows)))[rows:]
    wanted = torch.autograd.grad(loss(queries, task.query.y), list(theta.values()))
    gradient, _ = MetaGradient(learner, None, compiled=False)(phi, batch)
    for name, expected in zip(theta, wanted, strict=True):
        torch.testing.assert_close(gradient["theta"][name], expected, rtol=0, atol=1e-9)
        assert expected.any(), name


def test_a_context_would_never_adapt() -> None:
    with pytest.raises(UserError, match=r"algorithm\.contexts=2: ANIL adapts only the last layer"):
        algorithm("anil", contexts=2)
