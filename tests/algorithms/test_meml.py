"""MEML against Reptile, against closed forms on linear regression, and the learned variance of its prior."""

from dataclasses import replace
from math import log

import pytest
import torch
from builders import CONV, MLP, Blobs, algorithm, build, linear, moved, regressions, task_of, waves
from hypothesis import given
from hypothesis import strategies as some
from torch import Tensor

from metarun.algorithms.base import Learned
from metarun.algorithms.prior import Prior
from metarun.config.compose import compose, plain
from metarun.engine.meta_gradient import MetaGradient
from metarun.learner.learner import Learner, MetaParameters
from metarun.models.base import Parameters
from metarun.models.inner_optimizer import InnerOptimizer
from metarun.setup.check import check
from metarun.training.outer_optimizer import OuterOptimizer

SGD = InnerOptimizer(name="sgd", momentum=0.0, beta2=0.999)
UNIT = Prior(variance=1.0, layers=None, norms=None, head=None, learned=False)


def after(learner: Learner, phi: MetaParameters, tasks: object, updates: int = 1) -> MetaParameters:
    """φ after some meta-updates on the same tasks."""
    assert isinstance(learner.algorithm, Learned)
    outer = learner.algorithm.outer
    now = {group: {name: tensor.clone() for name, tensor in tensors.items()} for group, tensors in phi.items()}
    optimizer, meta_gradient = OuterOptimizer(outer, now, clip=None), MetaGradient(learner, None, compiled=False)
    for _ in range(updates):
        optimizer.step(meta_gradient(now, tasks)[0], outer.lr)  # type: ignore[arg-type]
    return now


@pytest.mark.parametrize("problem", ["classification", "regression"])
@pytest.mark.parametrize("blocks", [1, 3])
def test_without_enhancement_it_is_reptile(problem: str, blocks: int) -> None:
    dataset, model = (Blobs(), CONV) if problem == "classification" else (waves(), MLP)
    batch, told = dataset.sample("train", 0, 3), []
    for name, keys in (("reptile", {}), ("meml", {"enhancement": 0.0, "blocks": blocks})):
        learner, phi = build(dataset, f"algorithm={name}", *model, inner_lr=0.02, minibatch=4, **keys)
        told.append(after(learner, phi, batch, 4))
    torch.testing.assert_close(told[1], told[0], rtol=0, atol=0)


def linear_meml(**keys: object) -> tuple[Learner, MetaParameters]:
    base = {"inner_lr": 0.05, "inner_steps": 6, "inner_optimizer": SGD, "minibatch": None}
    return linear(algorithm("meml", **{**base, **keys}))


@pytest.mark.parametrize(("blocks", "pulled"), [(1, {6}), (2, {3, 6}), (4, {2, 3, 5, 6}), (6, {1, 2, 3, 4, 5, 6})])
@pytest.mark.parametrize(("beta", "variance"), [(0.1, 0.4), (3.0, 2.0)])
def test_in_closed_form_on_linear_regression(blocks: int, pulled: set[int], beta: float, variance: float) -> None:
    """A step is w ← (I − αH)w + αb, a pull w ← w − min(β/σ², 1)(w − w₀): both affine, so is the whole inner loop.

    The outer step follows w as it is before its last pull.
    """
    prior = replace(UNIT, variance=variance)
    learner, phi = linear_meml(enhancement=beta, blocks=blocks, prior=prior)
    tasks = regressions()
    start, share = phi["theta"]["head.weight"][0], min(beta / variance, 1)
    ends = []
    for number in range(len(tasks.number)):
        x, y = task_of(tasks, number).support
        h, b = 2 * x.T @ x / len(x), 2 * x.T @ y[:, 0] / len(x)
        w = free = start
        for step in range(1, 7):
            w = free = w - 0.05 * (h @ w - b)
            w = w - share * (w - start) if step in pulled else w
        ends.append(free)
    outer = replace(learner.algorithm.outer, lr=0.3, schedule="constant")  # type: ignore[attr-defined]
    learner = replace(learner, algorithm=replace(learner.algorithm, outer=outer))  # type: ignore[type-var]
    wanted = start + 0.3 / variance * (torch.stack(ends).mean(0) - start)
    torch.testing.assert_close(after(learner, phi, tasks)["theta"]["head.weight"][0], wanted, rtol=0, atol=1e-12)


def test_a_narrow_prior_holds_tasks_at_the_start_and_no_further() -> None:
    """σ → 0 with γ/σ² = ½ as it is: θ_enh stays at θ₀, which goes half the way to where the last block led."""
    tasks = regressions()
    for variance in (1e-3, 1e-9):
        prior = replace(UNIT, variance=variance)
        learner, phi = linear_meml(enhancement=0.1, blocks=6, prior=prior)
        adapted = learner.algorithm.adapt(learner.model, {}, phi["theta"], task_of(tasks, 0).support, {})
        torch.testing.assert_close(adapted.theta, phi["theta"], rtol=0, atol=1e-15)
        outer = replace(learner.algorithm.outer, lr=0.5 * variance)  # type: ignore[attr-defined]
        learner = replace(learner, algorithm=replace(learner.algorithm, outer=outer))  # type: ignore[type-var]
        w = phi["theta"]["head.weight"].clone().requires_grad_()
        (tasks.support.x @ w.T - tasks.support.y).square().mean().backward()
        assert w.grad is not None
        wanted = (w - 0.5 * 0.05 * w.grad).detach()
        torch.testing.assert_close(after(learner, phi, tasks)["theta"]["head.weight"], wanted, rtol=0, atol=1e-12)


def test_the_outer_step_does_not_pass_the_mean_of_the_tasks() -> None:
    """However narrow the prior, of fixed variance as of learned."""
    tasks = regressions()
    free, _ = linear_meml(enhancement=0.0)
    for learned in (False, True):
        prior = replace(UNIT, variance=1e-4, learned=learned)
        learner, phi = linear_meml(enhancement=0.0, prior=prior)
        ends = [
            free.algorithm.adapt(free.model, {}, phi["theta"], task_of(tasks, number).support, {}).theta["head.weight"]
            for number in range(len(tasks.number))
        ]
        moved_to = after(learner, phi, tasks)["theta"]["head.weight"]
        torch.testing.assert_close(moved_to, torch.stack(ends).mean(0), rtol=0, atol=1e-9)


def test_pulls_at_test_have_the_frequency_of_training() -> None:
    learner, phi = linear_meml(enhancement=0.25, blocks=2, inner_steps=4, test_steps=9)
    places: list[Tensor] = []
    learner.algorithm.adapt(
        learner.model, {}, phi["theta"], task_of(regressions(), 0).support, {}, testing=True,
        visit=lambda state: places.append(state.theta["head.weight"] - phi["theta"]["head.weight"]),
    )  # fmt: skip
    x, y = task_of(regressions(), 0).support
    for step in range(9):
        w = places[step] + phi["theta"]["head.weight"]
        free = places[step] - 0.05 * 2 * (x @ w.T - y).T @ x / len(x)
        share = 0.75 if step + 1 in (2, 4, 6, 8) else 1.0
        torch.testing.assert_close(places[step + 1], share * free, rtol=0, atol=1e-12)


def test_each_kind_of_layer_may_have_its_variance() -> None:
    """Where one kind is held fast, the others are not."""
    dataset = Blobs()
    prior = replace(UNIT, norms=2.0, head=1e-9)
    keys = {"inner_lr": 0.02, "minibatch": None}
    learner, phi = build(dataset, "algorithm=meml", *CONV, enhancement=0.5, blocks=1, prior=prior, **keys)
    reptile, _ = build(dataset, "algorithm=reptile", *CONV, **keys)
    batch = dataset.sample("train", 0, 2)
    support = task_of(batch, 0).support
    held, free = (
        each.algorithm.adapt(each.for_task(phi), {}, phi["theta"], support, {}).theta for each in (learner, reptile)
    )
    gradient, wanted = (MetaGradient(each, None, compiled=False)(phi, batch)[0]["theta"] for each in (learner, reptile))
    for name, start in phi["theta"].items():
        # β/σ² is ½; of norms ¼; the head is pulled all the way.
        left = 0.0 if name.startswith("head.") else 0.75 if name.startswith("norms.") else 0.5
        torch.testing.assert_close(held[name] - start, left * (free[name] - start), rtol=1e-9, atol=1e-12)
        # min(γ/σ², 1), with γ = 1.
        share = 0.5 if name.startswith("norms.") else 1.0
        torch.testing.assert_close(gradient[name], share * wanted[name], rtol=1e-9, atol=1e-12)


def test_the_gradient_of_a_learned_variance_by_hand() -> None:
    """Of −log p(θ_t | θ₀) per number, by log σ²; a pull comes later and plays no part."""
    prior = replace(UNIT, variance=0.3, head=0.02, learned=True)
    dataset = waves()
    keys = {"inner_lr": 0.05, "inner_optimizer": SGD, "minibatch": None, "inner_steps": 1, "prior": prior}
    learner, phi = build(dataset, "algorithm=meml", *MLP, enhancement=0.05, **keys)
    assert phi["algorithm"].keys() == {f"log_variance.{layer}" for layer in ("layers.0", "layers.1", "head")}
    assert phi["algorithm"]["log_variance.head"].item() == pytest.approx(log(0.02))
    batch = dataset.sample("train", 0, 3)
    got = MetaGradient(learner, None, compiled=False)(phi, batch)[0]["algorithm"]
    free, _ = build(dataset, "algorithm=reptile", *MLP, **keys)
    for layer, variance in (("layers.0", 0.3), ("layers.1", 0.3), ("head", 0.02)):
        log_variance = torch.tensor(variance, dtype=torch.float64).log().requires_grad_()
        total = torch.zeros((), dtype=torch.float64)
        for number in range(3):
            task = task_of(batch, number)
            theta = free.algorithm.adapt(free.model, {}, phi["theta"], task.support, {}).theta
            moves = torch.cat([(theta[n] - phi["theta"][n]).flatten() for n in theta if n.rpartition(".")[0] == layer])
            prior_of = torch.distributions.Normal(0, (log_variance / 2).exp())
            total = total - prior_of.log_prob(moves).mean() / 3
        (wanted,) = torch.autograd.grad(total, log_variance)
        torch.testing.assert_close(got[f"log_variance.{layer}"], wanted, rtol=1e-9, atol=1e-12)


@given(some.lists(some.floats(-3, 3), min_size=1, max_size=8), some.floats(1e-3, 10))
def test_a_learned_variance_rests_at_the_mean_square(moves: list[float], at: float) -> None:
    prior = replace(UNIT, learned=True)
    away = {"layers.0.weight": torch.tensor(moves).double() + 0.1}
    square = away["layers.0.weight"].square().mean()
    key = "log_variance.layers.0"

    def slope(variance: Tensor) -> float:
        return float(prior.slopes({key: variance.log()}, away)[key])

    assert slope(square) == pytest.approx(0, abs=1e-9)
    assert slope(square * (1 + at)) > 0, "down, where it is too large"
    assert slope(square / (1 + at)) < 0


def test_learning_the_variance_comes_to_rest_there() -> None:
    prior = replace(UNIT, learned=True)
    learner, phi = linear_meml(enhancement=0.0, prior=prior)
    outer = replace(learner.algorithm.outer, lr=1.0)  # type: ignore[attr-defined]
    learner = replace(learner, algorithm=replace(learner.algorithm, outer=outer))  # type: ignore[type-var]
    tasks = regressions(20)
    done = after(learner, phi, tasks, 200)
    squares = []
    for number in range(20):
        theta: Parameters = learner.algorithm.adapt(
            learner.model, done["algorithm"], done["theta"], task_of(tasks, number).support, {}
        ).theta
        squares.append((theta["head.weight"] - done["theta"]["head.weight"]).square().mean())
    rest = done["algorithm"]["log_variance.head"].exp()
    torch.testing.assert_close(rest, torch.stack(squares).mean(), rtol=1e-6, atol=0)
    # θ₀ is the mean of the tasks' ends, though γ/σ² is far above 1.
    torch.testing.assert_close(after(learner, done, tasks)["theta"], done["theta"], rtol=0, atol=1e-9)


def test_learned_variance_pulls_like_a_fixed_one() -> None:
    """In the inner loop; φ away from its start."""
    dataset, keys = waves(), {"inner_lr": 0.02, "minibatch": None, "enhancement": 0.1}
    learned, phi = build(dataset, "algorithm=meml", *MLP, prior=replace(UNIT, learned=True), **keys)
    phi = moved(phi)
    phi["algorithm"] = {name: torch.full_like(tensor, log(0.25)) for name, tensor in phi["algorithm"].items()}
    given_, _ = build(dataset, "algorithm=meml", *MLP, prior=replace(UNIT, variance=0.25), **keys)
    support = task_of(dataset.sample("train", 0, 1), 0).support
    one, other = (
        each.algorithm.adapt(each.for_task(phi), phi["algorithm"], phi["theta"], support, {}).theta
        for each in (learned, given_)
    )
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_its_keys_from_the_command_line() -> None:
    overrides = ["algorithm=meml", "algorithm.prior.head=0.1", "algorithm.enhancement=0.02", "algorithm.blocks=5"]
    config = compose(overrides)
    settings = check(plain(config, config.hydra.runtime.choices))
    assert settings.algorithm.prior == replace(UNIT, head=0.1)
    assert (settings.algorithm.enhancement, settings.algorithm.blocks) == (0.02, 5)
