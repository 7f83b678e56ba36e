"""Moving φ."""

import io

import pytest
import torch

from metarun.algorithms.outer_loop import OuterLoop
from metarun.engine.outer_optimiser import OuterOptimiser
from metarun.learner import MetaParameters


def phi() -> MetaParameters:
    torch.manual_seed(0)
    return {"theta": {"w": torch.randn(3, 2), "b": torch.randn(2)}, "embedding": {}, "algorithm": {"w": torch.ones(4)}}


def outer(optimiser: str, momentum: float = 0.9) -> OuterLoop:
    return OuterLoop(optimiser=optimiser, lr=0.1, momentum=momentum, schedule="constant", halve_every=1)


def gradients(count: int) -> list[MetaParameters]:
    torch.manual_seed(1)
    return [
        {group: {n: torch.randn_like(t) for n, t in tensors.items()} for group, tensors in phi().items()}
        for _ in range(count)
    ]


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_it_is_torchs_optimiser_at_the_schedules_step_sizes(name: str) -> None:
    mine, theirs = phi(), [t.clone().requires_grad_() for tensors in phi().values() for t in tensors.values()]
    keys = {"momentum": 0.9} if name == "sgd" else {"betas": (0.9, 0.999)}
    stepper = (torch.optim.SGD if name == "sgd" else torch.optim.Adam)(theirs, **keys)
    optimiser = OuterOptimiser(outer(name), mine, None)
    for number, gradient in enumerate(gradients(4)):
        optimiser.step(gradient, 0.1 / (number + 1))
        stepper.param_groups[0]["lr"] = 0.1 / (number + 1)
        flat = [t for tensors in gradient.values() for t in tensors.values()]
        for tensor, its in zip(theirs, flat, strict=True):
            tensor.grad = its.clone()
        stepper.step()
    for tensor, wanted in zip((t for ts in mine.values() for t in ts.values()), theirs, strict=True):
        torch.testing.assert_close(tensor, wanted.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_its_state_goes_through_a_file_bit_for_bit(name: str) -> None:
    one = phi()
    optimiser = OuterOptimiser(outer(name), one, None)
    first, second, third = gradients(3)
    optimiser.step(first, 0.1)
    optimiser.step(second, 0.1)
    other = {group: {n: t.clone() for n, t in tensors.items()} for group, tensors in one.items()}
    resumed = OuterOptimiser(outer(name), other, None)
    file = io.BytesIO()
    torch.save(optimiser.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    optimiser.step(third, 0.05)
    resumed.step(third, 0.05)
    torch.testing.assert_close(other, one, rtol=0, atol=0)


def test_clipping_bounds_the_norm_of_the_whole_and_keeps_the_direction() -> None:
    moved, (gradient,) = phi(), gradients(1)
    norm = OuterOptimiser(outer("sgd", 0.0), moved, clip=0.5).step(gradient, 1.0)
    flat = torch.cat([t.flatten() for ts in gradient.values() for t in ts.values()])
    torch.testing.assert_close(norm, flat.norm())
    step = torch.cat([(phi()[g][n] - moved[g][n]).flatten() for g in moved for n in moved[g]])
    torch.testing.assert_close(step, 0.5 * flat / flat.norm(), rtol=1e-4, atol=1e-6)


def test_a_small_gradient_is_not_clipped() -> None:
    one, other, (gradient,) = phi(), phi(), gradients(1)
    OuterOptimiser(outer("sgd"), one, clip=1e3).step(gradient, 1.0)
    OuterOptimiser(outer("sgd"), other, clip=None).step(gradient, 1.0)
    torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_moves_nothing(bad: float) -> None:
    moved, (gradient,) = phi(), gradients(1)
    optimiser = OuterOptimiser(outer("adam"), moved, clip=1.0)
    gradient["theta"]["b"][0] = bad
    assert not optimiser.step(gradient, 0.1).isfinite()
    torch.testing.assert_close(moved, phi(), rtol=0, atol=0)
    assert optimiser.state_dict()["state"] == {}
