"""Meta-SGD against MAML, and its step sizes' gradient against one derived by hand."""

import pytest
import torch
from builders import MLP, algorithm, build, linear, moved, regressions, task_of, waves

from metarun.algorithms.inner_rates import InnerRates
from metarun.core.errors import UserError
from metarun.engine.meta_gradient import MetaGradient
from metarun.training.outer_optimizer import OuterOptimizer


@pytest.mark.parametrize("order", [1, 2])
def test_frozen_equal_step_sizes_are_maml(order: int) -> None:
    keys = {"inner_steps": 3, "order": order}
    batch = waves().sample("train", 0, 4)
    maml, phi = build(waves(), *MLP, "algorithm=maml", inner_lr=0.07, **keys)
    frozen = {
        "inner_lr": [0.07, 0.07],
        "rates": InnerRates(per="parameter", each_step=False, learned=False, scale="linear", least=None, most=None),
    }
    meta_sgd, its_phi = build(waves(), *MLP, "algorithm=meta_sgd", **frozen, **keys)
    torch.testing.assert_close(phi["theta"], its_phi["theta"], rtol=0, atol=0)
    wanted, _ = MetaGradient(maml, None, compiled=False)(moved(phi), batch)
    its_phi["theta"] = moved(phi)["theta"]
    gradient, _ = MetaGradient(meta_sgd, None, compiled=False)(its_phi, batch)
    torch.testing.assert_close(gradient["theta"], wanted["theta"], rtol=0, atol=1e-12)
    assert all(not tensor.any() for tensor in gradient["algorithm"].values())


def test_the_gradient_of_the_step_sizes_after_one_step() -> None:
    """θ' = θ − α∘g, so dL_Q/dα = −g∘∇L_Q(θ')."""
    learner, phi = linear(algorithm("meta_sgd", inner_lr=[0.02, 0.2], inner_steps=1, order=2))
    batch = regressions()
    alpha, theta = phi["algorithm"]["rate.head.weight"].T, phi["theta"]["head.weight"].T
    expected = torch.zeros_like(alpha)
    for number in range(len(batch.number)):
        (x, y), (xq, yq), *_ = task_of(batch, number)
        g = 2 / len(x) * x.T @ (x @ theta - y)
        adapted = theta - alpha * g
        expected -= g * (2 / len(xq) * xq.T @ (xq @ adapted - yq)) / len(batch.number)
    gradient, _ = MetaGradient(learner, None, compiled=False)(phi, batch)
    torch.testing.assert_close(gradient["algorithm"]["rate.head.weight"].T, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("order", [1, 2])
def test_the_gradient_of_the_step_sizes_after_three_steps(order: int) -> None:
    """Against autograd on a loop written out; the first order keeps the step sizes' own gradient."""
    learner, phi = linear(algorithm("meta_sgd", inner_lr=[0.02, 0.2], inner_steps=3, order=order))
    batch = regressions()
    alpha = phi["algorithm"]["rate.head.weight"].clone().requires_grad_()
    theta = phi["theta"]["head.weight"].clone().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for number in range(len(batch.number)):
        (x, y), (xq, yq), *_ = task_of(batch, number)
        adapted = theta
        for _ in range(3):
            g = 2 / len(x) * (adapted @ x.T - y.T) @ x
            adapted = adapted - alpha * (g if order == 2 else g.detach())
        total = total + (xq @ adapted.T - yq).square().mean() / len(batch.number)
    wanted = torch.autograd.grad(total, [theta, alpha])
    gradient, _ = MetaGradient(learner, None, compiled=False)(phi, batch)
    torch.testing.assert_close(gradient["theta"]["head.weight"], wanted[0], rtol=0, atol=1e-9)
    torch.testing.assert_close(gradient["algorithm"]["rate.head.weight"], wanted[1], rtol=0, atol=1e-9)


def test_the_step_sizes_start_in_their_range_and_are_learned() -> None:
    learner, phi = build(waves(), *MLP, "algorithm=meta_sgd", inner_lr=[0.01, 0.02])
    before = torch.cat([tensor.flatten() for tensor in phi["algorithm"].values()])
    assert 0.01 <= before.min() < before.max() <= 0.02
    assert phi["algorithm"].keys() == {f"rate.{name}" for name in phi["theta"]}
    gradient, _ = MetaGradient(learner, None, compiled=False)(phi, waves().sample("train", 0, 4))
    OuterOptimizer(learner.algorithm.outer, phi, clip=None).step(gradient, 0.001)  # type: ignore[attr-defined]
    after = torch.cat([tensor.flatten() for tensor in phi["algorithm"].values()])
    assert (before != after).any()


@pytest.mark.parametrize("bounds", [[0.1], [0.2, 0.1], [0.1, 0.2, 0.3]])
def test_invalid_range_is_refused(bounds: list[float]) -> None:
    with pytest.raises(UserError, match=r"algorithm\.inner_lr=.* one positive number, or two"):
        algorithm("meta_sgd", inner_lr=bounds)
