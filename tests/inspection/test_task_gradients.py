"""The gradients that are looked at are those that the loops follow."""

from typing import Any

import pytest
import torch
from builders import ALGORITHMS, CONV, HYPERNET, MLP, Blobs, able, algorithm, build, looped, moved, task_of, waves
from torch import Tensor
from torch.func import functional_call

from metarun.algorithms.base import Learned
from metarun.engine.meta_gradient import MetaGradient
from metarun.engine.selection import SKETCH
from metarun.inspection import task_gradients as module
from metarun.inspection.task_gradients import cosines, task_gradients
from metarun.learner.learner import MetaParameters, moving
from metarun.models.normalization import Context

PROBLEMS: dict[str, tuple[Any, tuple[str, ...]]] = {"waves": (waves(), MLP), "blobs": (Blobs(), CONV)}
CASES = [
    pytest.param(name, problem, id=f"{name}-{problem}")
    for name in ALGORITHMS
    for problem, (dataset, _) in PROBLEMS.items()
    if able(name, dataset) and isinstance(algorithm(name), Learned)
]


def layers(gradient: MetaParameters) -> dict[str, float]:
    """The norm of each layer's part of a gradient of φ."""
    squares: dict[str, float] = {}
    for group, tensors in gradient.items():
        for name, tensor in tensors.items():
            layer = f"{group}.{name}".rsplit(".", 1)[0]
            squares[layer] = squares.get(layer, 0) + float((tensor**2).sum())
    return {layer: square**0.5 for layer, square in squares.items()}


@pytest.mark.parametrize(("name", "problem"), CASES)
def test_their_mean_is_the_meta_gradient(name: str, problem: str) -> None:
    dataset, model = PROBLEMS[problem]
    learner, phi = build(dataset, f"algorithm={name}", *model, inner_steps=2)
    phi = moved(phi)
    found = task_gradients(learner, phi, dataset, 3, 0.25, at_once=2)
    wanted, _ = MetaGradient(learner, None, compiled=False)(phi, dataset.sample("train", 0, 3), 0.25)
    assert found.outer == pytest.approx(layers(moving(wanted)), rel=1e-9, abs=1e-12)


def test_cosines_are_those_of_each_tasks_own_gradient() -> None:
    dataset = waves()
    learner, phi = build(dataset, *MLP, *HYPERNET)
    phi = moved(phi)
    found = task_gradients(learner, phi, dataset, 3, 0.0, at_once=3)
    alone = []
    for number in range(3):
        gradient, _ = looped(learner, phi, dataset.sample("train", number, 1))
        alone.append(torch.cat([tensor.flatten() for group in gradient.values() for tensor in group.values()]))
    for one in range(3):
        for other in range(3):
            wanted = torch.nn.functional.cosine_similarity(alone[one], alone[other], dim=0)
            assert found.cosines[one, other].item() == pytest.approx(wanted.item(), abs=1e-9)
    torch.testing.assert_close(found.sketches, torch.stack(alone), rtol=1e-9, atol=1e-12)


def test_inner_gradients_are_those_before_and_after_adaptation() -> None:
    dataset = waves()
    learner, phi = build(dataset, *MLP, inner_steps=3, inner_lr=0.05)
    found = task_gradients(learner, phi, dataset, 2, 0.0, at_once=1)
    before: dict[str, list[float]] = {}
    after: dict[str, list[float]] = {}
    for number in range(2):
        support = task_of(dataset.sample("train", 0, 2), number).support
        theta = {name: tensor.clone().requires_grad_() for name, tensor in phi["theta"].items()}

        def slopes(theta: dict[str, Tensor], support: Any = support) -> dict[str, Tensor]:
            out = functional_call(learner.model.network, theta, (support.x, Context()))
            loss = ((out - support.y) ** 2).mean()
            return dict(zip(theta, torch.autograd.grad(loss, list(theta.values())), strict=True))

        def note(into: dict[str, list[float]], gradient: dict[str, Tensor]) -> None:
            for layer, norm in layers({"x": gradient}).items():
                into.setdefault(layer.removeprefix("x."), []).append(norm)

        note(before, slopes(theta))
        for _ in range(3):
            gradient = slopes(theta)
            theta = {n: (t - 0.05 * gradient[n]).detach().requires_grad_() for n, t in theta.items()}
        note(after, slopes(theta))
    assert found.before == pytest.approx({layer: sum(norms) / 2 for layer, norms in before.items()})
    assert found.after == pytest.approx({layer: sum(norms) / 2 for layer, norms in after.items()})


def test_without_inner_steps_there_are_no_inner_gradients() -> None:
    learner, phi = build(Blobs(), "algorithm=protonet", *CONV)
    found = task_gradients(learner, phi, Blobs(), 2, 0.0, at_once=2)
    assert (found.before, found.after) == ({}, {})
    assert found.outer


def test_only_adapted_parameters_have_inner_gradients() -> None:
    learner, phi = build(Blobs(), "algorithm=anil", *CONV)
    assert set(task_gradients(learner, phi, Blobs(), 2, 0.0, at_once=2).before) == {"head"}


def test_long_gradients_are_kept_as_sketches(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = waves()
    learner, phi = build(dataset, "model=mlp", "model.hidden=[70,70]", *HYPERNET)
    exact = task_gradients(learner, phi, dataset, 4, 0.0, at_once=4)
    monkeypatch.setattr(module, "HELD", 1000)
    sketched = task_gradients(learner, phi, dataset, 4, 0.0, at_once=4)
    assert sketched.sketches.shape == (4, SKETCH)
    assert 0 < (sketched.cosines - exact.cosines).abs().max() < 0.1
    assert sketched.outer == pytest.approx(exact.outer)


def test_vanishing_gradient_has_no_direction() -> None:
    found = cosines(torch.tensor([[3.0, 4.0], [0.0, 0.0], [-6.0, -8.0]]))
    torch.testing.assert_close(found, torch.tensor([[1.0, 0, -1], [0, 0, 0], [-1, 0, 1]]).double())
