"""Moving φ."""

import io
from dataclasses import replace
from typing import Any

import pytest
import torch
from builders import algorithm

from metarun.algorithms.outer_loop import OuterLoop, SlowWeights
from metarun.learner.learner import MetaParameters
from metarun.training.outer_optimizer import OuterOptimizer


def phi() -> MetaParameters:
    torch.manual_seed(0)
    return {"theta": {"w": torch.randn(3, 2), "b": torch.randn(2)}, "embedding": {}, "algorithm": {"w": torch.ones(4)}}


def outer(optimizer: str, momentum: float = 0.9, ratio: float = 1.0, every: int = 1) -> OuterLoop:
    plain: OuterLoop = algorithm("maml").outer  # type: ignore[attr-defined]
    slow = SlowWeights(ratio=ratio, every=every)
    return replace(plain, optimizer=optimizer, lr=0.1, momentum=momentum, schedule="constant", slow=slow)


def gradients(count: int) -> list[MetaParameters]:
    torch.manual_seed(1)
    return [
        {group: {n: torch.randn_like(t) for n, t in tensors.items()} for group, tensors in phi().items()}
        for _ in range(count)
    ]


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_it_is_torchs_optimizer_at_the_schedules_step_sizes(name: str) -> None:
    mine, theirs = phi(), [t.clone().requires_grad_() for tensors in phi().values() for t in tensors.values()]
    keys = {"momentum": 0.9} if name == "sgd" else {"betas": (0.9, 0.999)}
    stepper = (torch.optim.SGD if name == "sgd" else torch.optim.Adam)(theirs, **keys)
    optimizer = OuterOptimizer(outer(name), mine, None)
    for number, gradient in enumerate(gradients(4)):
        optimizer.step(gradient, 0.1 / (number + 1))
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
    optimizer = OuterOptimizer(outer(name), one, None)
    first, second, third = gradients(3)
    optimizer.step(first, 0.1)
    optimizer.step(second, 0.1)
    other = {group: {n: t.clone() for n, t in tensors.items()} for group, tensors in one.items()}
    resumed = OuterOptimizer(outer(name), other, None)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    optimizer.step(third, 0.05)
    resumed.step(third, 0.05)
    torch.testing.assert_close(other, one, rtol=0, atol=0)


def test_clipping_bounds_the_norm_of_the_whole_and_keeps_the_direction() -> None:
    moved, (gradient,) = phi(), gradients(1)
    norm = OuterOptimizer(outer("sgd", 0.0), moved, clip=0.5).step(gradient, 1.0)
    flat = torch.cat([t.flatten() for ts in gradient.values() for t in ts.values()])
    torch.testing.assert_close(norm, flat.norm())
    step = torch.cat([(phi()[g][n] - moved[g][n]).flatten() for g in moved for n in moved[g]])
    torch.testing.assert_close(step, 0.5 * flat / flat.norm(), rtol=1e-4, atol=1e-6)


def test_a_small_gradient_is_not_clipped() -> None:
    one, other, (gradient,) = phi(), phi(), gradients(1)
    OuterOptimizer(outer("sgd"), one, clip=1e3).step(gradient, 1.0)
    OuterOptimizer(outer("sgd"), other, clip=None).step(gradient, 1.0)
    torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_gradient_moves_nothing(bad: float) -> None:
    moved, (gradient,) = phi(), gradients(1)
    optimizer = OuterOptimizer(outer("adam"), moved, clip=1.0)
    gradient["theta"]["b"][0] = bad
    assert not optimizer.step(gradient, 0.1).isfinite()
    assert optimizer.lost() == 1
    torch.testing.assert_close(moved, phi(), rtol=0, atol=0)


@pytest.mark.parametrize("outer", [outer("adam"), outer("sgd"), outer("adam", ratio=0.3, every=3), outer("sgd", 0.0)])
@pytest.mark.parametrize("good", [0, 2])
@pytest.mark.parametrize("where", ["gradient", "figure"])
def test_non_finite_step_blocks_later_steps_until_read(outer: OuterLoop, good: int, where: str) -> None:
    moved, wanted = phi(), phi()
    optimizer, plain = OuterOptimizer(outer, moved, clip=1.0), OuterOptimizer(outer, wanted, clip=1.0)
    for number, gradient in enumerate(gradients(6)):
        figure = torch.tensor(1.0)
        if number < good:
            plain.step(gradient, 0.1)
        elif number == good and where == "gradient":
            gradient["algorithm"]["w"][3] = float("nan")
        elif number == good:
            figure = torch.tensor(float("inf"))
        optimizer.step(gradient, 0.1, [figure])
    assert optimizer.lost() == 6 - good
    assert float(optimizer.frozen) == 1
    torch.testing.assert_close(moved, wanted, rtol=0, atol=0)
    if good:  # before any, PyTorch's has no state
        torch.testing.assert_close(optimizer.state_dict(), plain.state_dict(), rtol=0, atol=0)


def copied(of: MetaParameters) -> MetaParameters:
    return {group: {n: t.clone() for n, t in tensors.items()} for group, tensors in of.items()}


def mixed(one: MetaParameters, other: MetaParameters, share: float) -> MetaParameters:
    """one + share (other − one)."""
    return {group: {n: t + share * (other[group][n] - t) for n, t in tensors.items()} for group, tensors in one.items()}


@pytest.mark.parametrize("name", ["adam", "sgd"])
@pytest.mark.parametrize("every", [1, 3])
def test_slow_weights_follow_fast_ones(name: str, every: int) -> None:
    """Lookahead, by a loop around an optimizer without."""
    now, slow = phi(), phi()
    optimizer = OuterOptimizer(outer(name, ratio=0.3, every=every), now, None)
    fast = phi()
    plain = OuterOptimizer(outer(name), fast, None)
    for number, gradient in enumerate(gradients(8), 1):
        optimizer.step(gradient, 0.1)
        plain.step(gradient, 0.1)
        if number % every == 0:
            slow = mixed(slow, fast, 0.3)
            for group, tensors in fast.items():
                for n, tensor in tensors.items():
                    tensor.copy_(slow[group][n])
        torch.testing.assert_close(now, fast, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_slow_weights_after_every_step_are_a_shorter_step(name: str) -> None:
    """Where the optimizer's memory is of gradients alone, (γ/σ²) is a factor of the step size."""
    slow, short = phi(), phi()
    one, other = OuterOptimizer(outer(name, ratio=0.25), slow, None), OuterOptimizer(outer(name), short, None)
    for gradient in gradients(5):
        one.step(gradient, 0.1)
        other.step(gradient, 0.025)
    torch.testing.assert_close(slow, short, rtol=1e-5, atol=1e-6)


def test_a_ratio_of_one_is_no_slow_weights() -> None:
    one, other = phi(), phi()
    with_keys = OuterOptimizer(outer("adam", ratio=1.0, every=3), one, None)
    without = OuterOptimizer(outer("adam"), other, None)
    for gradient in gradients(4):
        with_keys.step(gradient, 0.1)
        without.step(gradient, 0.1)
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert with_keys.state_dict().keys() == {"state"}


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_slow_weights_go_through_a_file_bit_for_bit(stop: int) -> None:
    settings, one = outer("adam", ratio=0.4, every=3), phi()
    optimizer = OuterOptimizer(settings, one, None)
    for gradient in gradients(7)[:stop]:
        optimizer.step(gradient, 0.1)
    other, file = copied(one), io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    resumed = OuterOptimizer(settings, other, None)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for gradient in gradients(7)[stop:]:
        optimizer.step(gradient, 0.1)
        resumed.step(gradient, 0.1)
    torch.testing.assert_close(other, one, rtol=0, atol=0)


@pytest.mark.parametrize("slow", [None, {"tensors": [torch.zeros(3)], "done": 1}, {"tensors": []}])
def test_a_state_without_these_slow_weights_is_refused(slow: Any) -> None:
    optimizer = OuterOptimizer(outer("sgd", ratio=0.5), phi(), None)
    state = {name: part for name, part in optimizer.state_dict().items() if name != "slow"}
    with pytest.raises((KeyError, ValueError)):
        optimizer.load_state_dict(state if slow is None else {**state, "slow": slow})


@pytest.mark.parametrize("before", [0, 1, 2])
def test_candidate_equals_the_step_and_has_no_side_effect(before: int) -> None:
    """Also where slow weights are about to move."""
    settings, one, other = outer("adam", ratio=0.4, every=3), phi(), phi()
    optimizer, alike = OuterOptimizer(settings, one, None), OuterOptimizer(settings, other, None)
    steps = gradients(6)
    for gradient in steps[:before]:
        optimizer.step(gradient, 0.1)
        alike.step(gradient, 0.1)
    place = copied(one)
    told = optimizer.candidate(steps[before], 0.1)
    torch.testing.assert_close(one, place, rtol=0, atol=0)
    for gradient in steps[before:]:
        optimizer.step(gradient, 0.1)
        alike.step(gradient, 0.1)
        if gradient is steps[before]:
            torch.testing.assert_close(told, one, rtol=0, atol=0)
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_non_finite_gradient_does_not_move_slow_weights() -> None:
    moved, (gradient,) = phi(), gradients(1)
    optimizer = OuterOptimizer(outer("sgd", ratio=0.5, every=2), moved, None)
    gradient["theta"]["b"][0] = torch.nan
    optimizer.step(gradient, 0.1)
    assert optimizer.lost() == 1
    assert optimizer.state_dict()["slow"]["done"] == 0


@pytest.mark.parametrize("name", ["adam", "sgd"])
@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_scaled_group_moves_with_a_scaled_step_size(name: str, ratio: float) -> None:
    """Each group as if alone, with its own step size; and resumed in the middle."""
    settings = outer(name, ratio=ratio)
    start = {"theta": {"a": torch.randn(3)}, "hypernet": {"b": torch.randn(2, 2)}, "algorithm": {}}
    gradients = [
        {"theta": {"a": torch.randn(3)}, "hypernet": {"b": torch.randn(2, 2)}, "algorithm": {}} for _ in "four"
    ]

    def copied() -> MetaParameters:
        return {group: {key: value.clone() for key, value in tensors.items()} for group, tensors in start.items()}

    together, theta, hypernet = copied(), copied(), copied()
    scales = {"hypernet": 0.1}
    optimizer = OuterOptimizer(settings, together, None, scales)
    alone = {
        "theta": (OuterOptimizer(settings, {"theta": theta["theta"]}, None), 1.0),
        "hypernet": (OuterOptimizer(settings, {"hypernet": hypernet["hypernet"]}, None), 0.1),
    }
    for number, gradient in enumerate(gradients):
        if number == 2:
            state = optimizer.state_dict()
            optimizer = OuterOptimizer(settings, together, None, scales)
            optimizer.load_state_dict(state)
        optimizer.step(gradient, 0.02)
        for group, (own, scale) in alone.items():
            own.step({group: gradient[group]}, 0.02 * scale)
    torch.testing.assert_close(together["theta"], theta["theta"], rtol=0, atol=0)
    torch.testing.assert_close(together["hypernet"], hypernet["hypernet"], rtol=0, atol=0)
