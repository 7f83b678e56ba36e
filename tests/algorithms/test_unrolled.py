"""What goes with any method of the MAML family, each part against the plain method or a loop written out."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from builders import CONV, MLP, Blobs, algorithm, build, linear, moved, regressions, task_of, waves
from torch import Tensor
from torch.func import functional_call
from torch.utils._pytree import tree_map

from metarun.algorithms.inner_rates import InnerRates
from metarun.algorithms.unrolled import Unrolled
from metarun.core.errors import UserError
from metarun.core.tasks import TaskBatch
from metarun.engine.evaluation import Evaluator
from metarun.engine.meta_gradient import MetaGradient
from metarun.learner.learner import Learner, MetaParameters
from metarun.models.inner_optimizer import InnerOptimizer
from metarun.models.normalization import Context

PLAIN = {"first_order_share": 0.0, "multi_step_share": 0.0, "step_norms": False}


def gradient(learner: Learner, phi: MetaParameters, batch: TaskBatch, progress: float = 0.0) -> MetaParameters:
    return MetaGradient(learner, None, compiled=False)(phi, batch, progress)[0]


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("each_step", [False, True])
@pytest.mark.parametrize("per", ["all", "layer", "tensor", "parameter"])
def test_equal_step_sizes_are_maml_for_any_granularity(per: str, each_step: bool, order: int) -> None:
    """MAML++ without its other parts is MAML, and so is Meta-SGD."""
    batch = waves().sample("train", 0, 4)
    maml, phi = build(waves(), *MLP, "algorithm=maml", inner_lr=0.07, inner_steps=3, order=order)
    wanted = gradient(maml, moved(phi), batch)["theta"]
    for learned in (False, True):
        keys = {
            "inner_lr": [0.07, 0.07],
            "rates": InnerRates(per=per, each_step=each_step, learned=learned, scale="linear", least=None, most=None),
        }
        other, its_phi = build(waves(), *MLP, "algorithm=maml_pp", inner_steps=3, order=order, **keys, **PLAIN)
        its_phi["theta"] = moved(phi)["theta"]
        found = gradient(other, its_phi, batch)
        torch.testing.assert_close(found["theta"], wanted, rtol=0, atol=1e-12)
        sizes = {
            "all": 1,
            "layer": 3,
            "tensor": 6,
            "parameter": sum(tensor.numel() for tensor in phi["theta"].values()),
        }
        assert sum(rate.numel() for rate in its_phi["algorithm"].values()) == sizes[per] * (3 if each_step else 1)
        assert any(bool(slope.any()) for slope in found["algorithm"].values()) == learned


def test_every_step_has_the_step_size_of_its_layer_and_number() -> None:
    """And steps beyond those of the training have the last."""
    rates = InnerRates(per="layer", each_step=True, learned=True, scale="linear", least=None, most=None)
    learner, phi = linear(algorithm("maml", inner_lr=0.1, rates=rates, inner_steps=2, test_steps=4))
    phi["algorithm"]["rate.head"] = torch.tensor([0.05, 0.2], dtype=torch.float64)
    (x, y), *_ = task_of(regressions(), 0)
    theta = phi["theta"]["head.weight"].T
    for size in (0.05, 0.2, 0.2, 0.2):
        theta = theta - size * 2 / len(x) * x.T @ (x @ theta - y)
    ends = learner.algorithm.adapt(
        learner.model, phi["algorithm"], phi["theta"], task_of(regressions(), 0).support, {}, testing=True
    )
    torch.testing.assert_close(ends.theta["head.weight"].T, theta, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("progress", "weights"),
    [(0.0, [1 / 3, 1 / 3, 1 / 3]), (0.1, [1 / 6, 1 / 6, 2 / 3]), (0.2, [0, 0, 1]), (0.9, [0, 0, 1])],
)
def test_the_losses_after_earlier_steps_count_less_and_less(progress: float, weights: list[float]) -> None:
    batch, keys = waves().sample("train", 0, 4), {"inner_lr": 0.05}
    learner, phi = build(waves(), *MLP, "algorithm=maml", inner_steps=3, multi_step_share=0.2, **keys)
    phi = moved(phi)
    each = [
        gradient(build(waves(), *MLP, "algorithm=maml", inner_steps=steps, **keys)[0], phi, batch)
        for steps in (1, 2, 3)
    ]
    wanted = tree_map(lambda *parts: sum(w * part for w, part in zip(weights, parts, strict=True)), *each)
    torch.testing.assert_close(gradient(learner, phi, batch, progress), wanted, rtol=0, atol=1e-12)


def test_the_first_share_of_the_training_is_first_order_and_the_rest_second() -> None:
    batch, keys = waves().sample("train", 0, 4), {"inner_lr": 0.05, "inner_steps": 3}
    annealed, phi = build(waves(), *MLP, "algorithm=maml", first_order_share=0.3, **keys)
    phi = moved(phi)
    first, second = (
        gradient(build(waves(), *MLP, "algorithm=maml", order=order, **keys)[0], phi, batch) for order in (1, 2)
    )
    for progress, wanted in ((0.0, first), (0.29, first), (0.3, second), (0.99, second)):
        torch.testing.assert_close(gradient(annealed, phi, batch, progress), wanted, rtol=0, atol=1e-12)
    name = "layers.0.weight"
    assert (first["theta"][name] - second["theta"][name]).abs().max() > 1e-3, "or this could not fail"


def test_every_step_has_its_own_normalization() -> None:
    """Against a loop with `torch.autograd` that puts gains and shifts in place by hand."""
    dataset = Blobs()
    learner, phi = build(dataset, *CONV, "algorithm=maml", inner_lr=0.1, inner_steps=2, step_norms=True)
    phi = moved(phi)
    assert phi["algorithm"]["step.norms.0.weight"].shape == (3, 4)
    batch = dataset.sample("train", 0, 3)
    leaves = {group: {n: t.clone().requires_grad_() for n, t in tensors.items()} for group, tensors in phi.items()}
    network, loss = learner.model.network, learner.model.kind.loss
    total = torch.zeros((), dtype=torch.float64)
    for number in range(3):
        (x, y), (xq, yq), *_ = task_of(batch, number)

        def with_norms(theta: dict[str, Tensor], step: int) -> dict[str, Tensor]:
            added = {n: leaves["algorithm"][f"step.{n}"][step] for n in theta if n.startswith("norms.")}
            return {**theta, **{n: leaves["theta"][n] + part for n, part in added.items()}}

        theta = dict(leaves["theta"])
        moving = [n for n in theta if not n.startswith("norms.")]
        for step in range(2):
            value = loss(functional_call(network, with_norms(theta, step), (x, Context())), y)
            slopes = torch.autograd.grad(value, [theta[n] for n in moving], create_graph=True)
            theta |= {n: theta[n] - 0.1 * slope for n, slope in zip(moving, slopes, strict=True)}
        out = functional_call(network, with_norms(theta, 2), (torch.cat((x, xq)), Context(len(x))))
        total = total + loss(out[len(x) :], yq) / 3
    found = gradient(learner, phi, batch)
    flat = [(group, n) for group, tensors in leaves.items() for n in tensors]
    wanted = torch.autograd.grad(total, [leaves[group][n] for group, n in flat])
    for (group, n), part in zip(flat, wanted, strict=True):
        torch.testing.assert_close(found[group][n], part, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("order", [1, 2])
def test_a_pull_towards_the_start_is_a_term_of_the_inner_loss(order: int) -> None:
    """L_S(θ) + λ/2 |θ − θ⁰|² of linear regression, differentiated by autograd; at first order a constant like all."""
    learner, phi = linear(algorithm("maml", inner_lr=0.1, inner_steps=3, proximal=0.7, order=order))
    batch = regressions()
    start = phi["theta"]["head.weight"].clone().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for number in range(3):
        (x, y), (xq, yq), *_ = task_of(batch, number)
        theta = start
        for _ in range(3):
            value = (x @ theta.T - y).square().mean() + 0.35 * (theta - start).square().sum()
            slope = torch.autograd.grad(value, theta, create_graph=True)[0]
            theta = theta - 0.1 * (slope if order == 2 else slope.detach())
        total = total + (xq @ theta.T - yq).square().mean() / 3
    wanted = torch.autograd.grad(total, start)[0]
    torch.testing.assert_close(gradient(learner, phi, batch)["theta"]["head.weight"], wanted, rtol=0, atol=1e-12)


ADAM = InnerOptimizer(name="adam", momentum=0.5, beta2=0.9)
MOMENTUM = InnerOptimizer(name="sgd", momentum=0.5, beta2=0.9)


@pytest.mark.parametrize(
    ("name", "overrides", "keys"),
    [
        ("maml", (), {}),
        ("maml", (), {"inner_optimizer": ADAM, "minibatch": 3}),
        ("maml", (), {"inner_optimizer": MOMENTUM, "proximal": 0.3}),
        ("maml", ("model.normalization=running",), {}),
        ("maml", ("hypernet=film", "embedding=support"), {}),
        ("maml_pp", (), {"first_order_share": 0.3, "multi_step_share": 0.5}),
        ("meta_sgd", (), {}),
        ("meta_curvature", (), {}),
        ("anil", (), {}),
        ("cavia", (), {}),
        ("maml", (), {"inner_steps": 0}),
    ],
)
def test_recomputation_gives_the_same_gradient(name: str, overrides: tuple[str, ...], keys: dict[str, Any]) -> None:
    dataset = Blobs()
    keys = {"inner_steps": 4} | keys
    learner, phi = build(dataset, f"algorithm={name}", *CONV, *overrides, **keys)
    assert isinstance(learner.algorithm, Unrolled)
    sparing = replace(learner, algorithm=replace(learner.algorithm, recompute=True))
    phi, batch = moved(phi), dataset.sample("train", 0, 3)
    for progress in (0.1, 0.9):
        wanted, metrics = MetaGradient(learner, None, compiled=False)(phi, batch, progress)
        found, others = MetaGradient(sparing, None, compiled=False)(phi, batch, progress)
        torch.testing.assert_close((found, others), (wanted, metrics), rtol=1e-9, atol=1e-11)


def test_what_is_annealed_plays_no_part_at_test() -> None:
    dataset = waves()
    learner, phi = build(dataset, *MLP, "algorithm=maml_pp", inner_lr=0.05, inner_steps=2)
    plain, _ = build(dataset, *MLP, "algorithm=maml_pp", inner_lr=0.05, inner_steps=2, **PLAIN)
    one, other = (Evaluator(each)(phi, dataset, "test", 6).curves for each in (learner, plain))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"first_order_share": 0.2, "order": 1}, "all of meta-training is first order"),
        ({"multi_step_share": 0.2, "inner_steps": 0}, "no inner steps whose losses could count"),
        ({"inner_lr": [0.2, 0.1]}, "or two in increasing order"),
        ({"recompute": True, "order": 1}, "no inner steps are stored"),
    ],
)
def test_contradicting_settings_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        algorithm("maml", **keys)
