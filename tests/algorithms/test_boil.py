"""BOIL: MAML whose inner loop moves all but the head."""

import torch
from builders import CONV, Blobs, build, task_of
from torch.func import functional_call

from metarun.engine.meta_gradient import MetaGradient
from metarun.models.normalization import Context


def test_the_inner_loop_moves_everything_but_the_head() -> None:
    learner, phi = build(Blobs(), *CONV, "algorithm=boil", inner_steps=3)
    task = task_of(Blobs().sample("train", 0, 1), 0)
    state = learner.algorithm.adapt(learner.model, {}, phi["theta"], task.support, {})
    for name, tensor in phi["theta"].items():
        assert torch.equal(state.theta[name], tensor) == name.startswith("head."), name


def test_the_meta_gradient_goes_through_steps_of_the_body() -> None:
    """Written out with autograd."""
    learner, phi = build(Blobs(), *CONV, "algorithm=boil", inner_steps=2, inner_lr=0.2)
    batch = Blobs().sample("train", 0, 1)
    task = task_of(batch, 0)
    theta = {name: tensor.clone().requires_grad_() for name, tensor in phi["theta"].items()}
    network, loss = learner.model.network, learner.model.kind.loss
    now = dict(theta)
    body = [name for name in theta if not name.startswith("head.")]
    for _ in range(2):
        value = loss(functional_call(network, now, (task.support.x, Context())), task.support.y)
        slopes = torch.autograd.grad(value, [now[name] for name in body], create_graph=True)
        now = {**now, **{name: now[name] - 0.2 * slope for name, slope in zip(body, slopes, strict=True)}}
    rows = len(task.support.x)
    both = torch.cat((task.support.x, task.query.x))
    queries = functional_call(network, now, (both, Context(support=rows)))[rows:]
    wanted = torch.autograd.grad(loss(queries, task.query.y), list(theta.values()))
    gradient, _ = MetaGradient(learner, None, compiled=False)(phi, batch)
    for name, expected in zip(theta, wanted, strict=True):
        torch.testing.assert_close(gradient["theta"][name], expected, rtol=0, atol=1e-9)
