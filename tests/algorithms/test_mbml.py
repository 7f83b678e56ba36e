"""MBML against MAML, and its learned optimizer."""

import pytest
import torch
from builders import CONV, MLP, Blobs, build, moved, task_of, waves

from metarun.algorithms.learned_optimizer import PREFIX, direction, features, initial
from metarun.datasets.base import Dataset
from metarun.engine.meta_gradient import MetaGradient
from metarun.engine.selection import Selector
from metarun.learner.learner import Learner, MetaParameters
from metarun.training.outer_optimizer import OuterOptimizer

PROBLEMS: dict[str, tuple[Dataset, tuple[str, ...]]] = {"classification": (Blobs(), CONV), "regression": (waves(), MLP)}
PLAIN = ("algorithm.outer.slow.ratio=1", "algorithm.outer.tasks.select=all", "algorithm.rates.learned=false")


def trained(dataset: Dataset, *overrides: str, updates: int = 7, **keys: object) -> MetaParameters:
    """φ after some meta-updates, as the engine makes them."""
    learner, phi = build(dataset, *overrides, inner_lr=0.03, inner_steps=2, **keys)
    outer = learner.algorithm.outer  # type: ignore[attr-defined]
    optimizer, meta_gradient = OuterOptimizer(outer, phi, None), MetaGradient(learner, None, compiled=False)
    selector = Selector(outer.tasks, learner, dataset, 3, None)
    for step in range(updates):
        batch, weights, _ = selector(phi, step, step / updates, None)
        optimizer.step(meta_gradient(phi, batch, step / updates, weights)[0], outer.lr_at(step, updates))
    return phi


@pytest.mark.parametrize("problem", PROBLEMS)
def test_without_its_parts_it_is_maml(problem: str) -> None:
    dataset, model = PROBLEMS[problem]
    maml = trained(dataset, "algorithm=maml", *model)
    mbml = trained(dataset, "algorithm=mbml", *model, *PLAIN, "algorithm.rates.per=all")
    torch.testing.assert_close(mbml, maml, rtol=0, atol=0)


@pytest.mark.parametrize(
    "part",
    [
        "algorithm.outer.slow.ratio=0.5",
        "algorithm.outer.tasks.select=k_medoids",
        "algorithm.outer.tasks.select=k_center",
        "algorithm.outer.tasks.select=loss",
        "algorithm.rates.learned=true",
        "algorithm.optimizer_units=5",
    ],
)
def test_each_part_changes_the_result(part: str) -> None:
    """Or the test above could not fail."""
    dataset, model = PROBLEMS["regression"]
    plain = trained(dataset, "algorithm=mbml", *model, *PLAIN)
    other = trained(dataset, "algorithm=mbml", *model, *PLAIN, part)
    assert (plain["theta"]["head.weight"] - other["theta"]["head.weight"]).abs().max() > 1e-6


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_learned_optimizer_begins_at_plain_steps(problem: str) -> None:
    dataset, model = PROBLEMS[problem]
    tasks, told = dataset.sample("train", 0, 3), []
    for units in (0, 6):
        learner, phi = build(dataset, "algorithm=mbml", *model, inner_lr=0.03, inner_steps=3, optimizer_units=units)
        told.append((learner, phi, MetaGradient(learner, None, compiled=False)(phi, tasks)))
    (one, phi, (gradient, metrics)), (other, with_network, (its_gradient, its_metrics)) = told
    assert not any(name.startswith(PREFIX) for name in phi["algorithm"])
    torch.testing.assert_close(with_network["theta"], phi["theta"], rtol=0, atol=0)
    support = task_of(tasks, 0).support
    ends = (
        each.algorithm.adapt(each.model, params["algorithm"], phi["theta"], support, {}).theta
        for each, params in ((one, phi), (other, with_network))
    )
    torch.testing.assert_close(*ends, rtol=0, atol=0)
    torch.testing.assert_close(its_metrics, metrics, rtol=0, atol=0)
    torch.testing.assert_close(its_gradient["theta"], gradient["theta"], rtol=1e-12, atol=1e-14)
    assert its_gradient["algorithm"][f"{PREFIX}output.weight"].abs().sum() > 0, "or it would never learn"


def one_task(**keys: object) -> tuple[Learner, MetaParameters]:
    learner, phi = build(waves(), "algorithm=mbml", *MLP, inner_lr=0.05, optimizer_units=4, **keys)
    phi["algorithm"] = moved({"own": phi["algorithm"]}, 0.2)["own"]
    return learner, phi


def test_its_meta_gradient_is_the_derivative() -> None:
    """By central differences, through several inner steps, whose gradients are what the network sees."""
    learner, phi = one_task(inner_steps=3)
    tasks = waves().sample("train", 0, 2)
    meta_gradient = MetaGradient(learner, None, compiled=False)
    gradient, _ = meta_gradient(phi, tasks)
    generator, step = torch.Generator().manual_seed(3), 1e-6
    for group in ("algorithm", "theta"):
        for name, tensor in phi[group].items():
            if not name.startswith((PREFIX, "rate", "head")):
                continue
            way = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            sides = []
            for sign in (1, -1):
                there = {**phi, group: {**phi[group], name: tensor + sign * step * way}}
                sides.append(meta_gradient(there, tasks)[1]["mse"])
            slope = (sides[0] - sides[1]) / (2 * step)
            torch.testing.assert_close((gradient[group][name] * way).sum(), slope, rtol=1e-5, atol=1e-8)


def test_every_number_is_moved_by_its_own_gradient_alone() -> None:
    """Numbers that change places move as they did, whatever tensor they are in."""
    learner, phi = one_task()
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(12, generator=generator, dtype=torch.float64) * 10.0 ** -torch.arange(12)
    order = torch.randperm(12, generator=generator)

    def directed(flat: torch.Tensor) -> torch.Tensor:
        gradient = {"a": flat[:6].view(2, 3), "b": flat[6:]}
        moved = learner.algorithm.direction(phi["algorithm"], gradient, gradient, gradient)  # type: ignore[attr-defined]
        assert moved["a"].shape == (2, 3)
        return torch.cat([tensor.flatten() for tensor in moved.values()])

    torch.testing.assert_close(directed(numbers)[order], directed(numbers[order]), rtol=1e-12, atol=1e-15)
    other = numbers.clone()
    other[4] = 7.0
    assert ((directed(other) - directed(numbers)).abs() > 1e-12).nonzero().flatten().tolist() == [4]


def test_what_the_network_sees_is_the_papers() -> None:
    told = features(torch.tensor([1.0, -(torch.e**-5), 1e-5, -1e-6, 0.0], dtype=torch.float64))
    small = torch.e**10
    wanted = [[0, 1], [-0.5, -1], [-1, 1e-5 * small], [-1, -1e-6 * small], [-1, 0]]
    torch.testing.assert_close(told, torch.tensor(wanted, dtype=torch.float64), rtol=1e-9, atol=1e-12)


def test_zero_gradient_has_finite_results() -> None:
    g = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    params = moved({"own": initial(4, torch.float64)}, 0.3)["own"]
    still = direction(params, {"w": g})["w"]
    assert still.tolist() == [0, 0, 0]
    (slope,) = torch.autograd.grad(still.sum(), g)
    assert slope.isfinite().all()
