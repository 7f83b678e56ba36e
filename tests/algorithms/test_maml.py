"""MAML against closed forms: on linear regression the inner loop and the meta-gradient can be written down."""

import pytest
import torch
import torch.nn.functional as F
from builders import CONV, Blobs, algorithm, build, linear, moved, regressions, task_of, waves
from torch import Tensor
from torch.func import functional_call

from metarun.core.tasks import Examples, TaskBatch
from metarun.engine.meta_gradient import MetaGradient
from metarun.learner.learner import Learner, MetaParameters
from metarun.models.normalization import MOMENTUM, Context


def closed_form(theta: Tensor, batch: TaskBatch, lr: float, steps: int, order: int) -> Tensor:
    """Mean over tasks of dL_Q(θ')/dθ for L(θ) = |Xθ − y|²/n, whose inner step is θ' = θ − α·2/n·Xᵀ(Xθ − y)."""
    gradients = []
    for number in range(len(batch.number)):
        (x, y), (xq, yq), *_ = task_of(batch, number)
        curvature, offset = 2 / len(x) * x.T @ x, 2 / len(x) * x.T @ y
        shrink = torch.eye(len(theta), dtype=theta.dtype) - lr * curvature
        adapted = theta
        for _ in range(steps):
            adapted = shrink @ adapted + lr * offset
        through = torch.linalg.matrix_power(shrink, steps) if order == 2 else torch.eye(len(theta), dtype=theta.dtype)
        gradients.append(through.T @ (2 / len(xq) * xq.T @ (xq @ adapted - yq)))
    return torch.stack(gradients).mean(0)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("chunk", [None, 2])
def test_the_meta_gradient_is_the_closed_form(order: int, steps: int, chunk: int | None) -> None:
    learner, phi = linear(algorithm("maml", inner_lr=0.1, inner_steps=steps, order=order))
    batch = regressions()
    gradient, _ = MetaGradient(learner, chunk, compiled=False)(phi, batch)
    expected = closed_form(phi["theta"]["head.weight"].T, batch, 0.1, steps, order)
    torch.testing.assert_close(gradient["theta"]["head.weight"].T, expected, rtol=0, atol=1e-9)


def test_the_orders_differ() -> None:
    """Or the test above could not tell them apart."""
    theta = torch.ones(4, 1, dtype=torch.float64)
    first, second = (closed_form(theta, regressions(), 0.1, 1, order) for order in (1, 2))
    assert (first - second).norm() > 0.1 * second.norm()


def test_first_order_gradient_is_that_of_the_query_loss_at_the_end() -> None:
    learner, phi = build(Blobs(), *CONV, "algorithm=maml", order=1, inner_steps=3)
    batch = Blobs().sample("train", 0, 1)
    gradient, _ = MetaGradient(learner, None, compiled=False)(phi, batch)
    task = task_of(batch, 0)
    state = learner.algorithm.adapt(learner.model, {}, phi["theta"], task.support, {})
    adapted = {name: tensor.detach().requires_grad_() for name, tensor in state.theta.items()}
    prediction = learner.model.predict(adapted, state.running, task.support, task.query.x)
    expected = torch.autograd.grad(learner.model.kind.loss(prediction, task.query.y), list(adapted.values()))
    for name, wanted in zip(adapted, expected, strict=True):
        torch.testing.assert_close(gradient["theta"][name], wanted, rtol=1e-9, atol=1e-12)
    assert all(tensor.norm() > 0 for tensor in gradient["theta"].values())


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_meta_gradient_is_the_slope_of_the_objective(optimizer: str) -> None:
    """Second order, by central differences along random directions."""
    learner, phi = build(
        waves(), "model=mlp", "model.hidden=[8,8]", f"algorithm.inner_optimizer.name={optimizer}",
        "algorithm.inner_optimizer.momentum=0.5", inner_steps=3, inner_lr=0.03,
    )  # fmt: skip
    batch, phi = waves().sample("train", 0, 2), moved(phi)
    gradient, _ = MetaGradient(learner, None, compiled=False)(phi, batch)
    for seed in range(3):
        torch.manual_seed(seed)
        along = {name: torch.randn_like(tensor) for name, tensor in phi["theta"].items()}
        slope = sum((gradient["theta"][name] * along[name]).sum() for name in along)
        high, low = (mean_objective(learner, shifted(phi, along, by), batch) for by in (1e-6, -1e-6))
        torch.testing.assert_close((high - low) / 2e-6, slope, rtol=1e-5, atol=1e-7)


def mean_objective(learner: Learner, phi: MetaParameters, batch: TaskBatch) -> Tensor:
    tasks = [task_of(batch, number) for number in range(len(batch.number))]
    return torch.stack([learner.objective(phi, task, {})[0] for task in tasks]).mean()


def shifted(phi: MetaParameters, along: dict[str, Tensor], by: float) -> MetaParameters:
    return {**phi, "theta": {name: tensor + by * along[name] for name, tensor in phi["theta"].items()}}


def test_running_statistics_pass_from_step_to_step() -> None:
    learner, phi = build(Blobs(), *CONV, "model.normalization=running", inner_steps=2, inner_lr=0.3)
    support = task_of(Blobs().sample("train", 0, 1), 0).support
    first = learner.algorithm.step(learner.model, {}, learner.algorithm.initial_state({}, phi["theta"]), support, 0, {})
    second = learner.algorithm.step(learner.model, {}, first, support, 1, {})
    _, alone = learner.model.support_loss(first.theta, {}, {}, support)
    assert alone.keys() == {"norm0", "norm1"}
    for name, current in alone.items():
        wanted = (1 - MOMENTUM) * first.running[name] + MOMENTUM * current
        torch.testing.assert_close(second.running[name], wanted, rtol=0, atol=1e-12)


def test_duplicated_support_set_gives_the_same_adaptation() -> None:
    learner, phi = linear(algorithm("maml", inner_lr=0.1, inner_steps=3))
    support = task_of(regressions(), 0).support
    twice = Examples(support.x.repeat(2, 1), support.y.repeat(2, 1))
    once_, twice_ = (learner.algorithm.adapt(learner.model, {}, phi["theta"], s, {}).theta for s in (support, twice))
    torch.testing.assert_close(once_, twice_, rtol=0, atol=1e-12)


def test_fomaml_is_maml_of_first_order() -> None:
    assert algorithm("fomaml") == algorithm("maml", order=1)


@pytest.mark.parametrize(
    ("inner_norms", "moves"),
    [("all", {"weight", "bias"}), ("gain", {"weight"}), ("shift", {"bias"}), ("none", set())],
)
@pytest.mark.parametrize("name", ["maml", "boil", "meta_sgd", "meta_curvature"])
def test_inner_norms_selects_adapted_parameters(name: str, inner_norms: str, moves: set[str]) -> None:
    dataset = Blobs()
    learner, phi = build(dataset, *CONV, f"algorithm={name}", f"algorithm.inner_norms={inner_norms}")
    phi = moved(phi)
    task, params = task_of(dataset.sample("train", 0, 1), 0), phi["algorithm"]
    end = learner.algorithm.adapt(learner.model, params, phi["theta"], task.support, {}).theta
    changed = {n for n, tensor in phi["theta"].items() if not torch.equal(end[n], tensor)}
    assert {n for n in changed if n.startswith("norms.")} == {f"norms.{i}.{part}" for i in range(2) for part in moves}
    assert {"layers.0.weight", "layers.1.weight"} <= changed
    # The outer loop learns all of them.
    gradient, _ = MetaGradient(learner, None, compiled=False)(phi, dataset.sample("train", 0, 2))
    assert all(gradient["theta"][n].any() for n in phi["theta"] if n.startswith("norms."))


def test_inner_norms_none_adapts_the_other_parameters() -> None:
    """Against `torch.autograd` on the other parameters alone."""
    dataset = Blobs()
    learner, phi = build(dataset, *CONV, "algorithm.inner_norms=none", inner_lr=0.3, inner_steps=1)
    phi, task = moved(phi), task_of(dataset.sample("train", 0, 1), 0)
    leaves = {n: t.clone().requires_grad_() for n, t in phi["theta"].items()}
    moving = {n: t for n, t in leaves.items() if not n.startswith("norms.")}
    support, rows = task.support, len(task.support.x)
    loss = F.cross_entropy(functional_call(learner.model.network, leaves, (support.x, Context())), support.y)
    slopes = torch.autograd.grad(loss, list(moving.values()), create_graph=True)
    end = leaves | {n: t - 0.3 * slope for (n, t), slope in zip(moving.items(), slopes, strict=True)}
    out = functional_call(learner.model.network, end, (torch.cat((support.x, task.query.x)), Context(rows)))[rows:]
    wanted = torch.autograd.grad(F.cross_entropy(out, task.query.y), list(leaves.values()))
    found, _ = MetaGradient(learner, None, compiled=False)(phi, dataset.sample("train", 0, 1))
    for name, slope in zip(leaves, wanted, strict=True):
        torch.testing.assert_close(found["theta"][name], slope, rtol=0, atol=1e-12)
