"""The inner loop's optimizers against PyTorch's, and their derivatives where a gradient is zero."""

import pytest
import torch
from torch import Tensor
from torch.func import grad, jacrev

from metarun.models.inner_optimizer import InnerOptimizer, OptimizerState

ADAM = {"name": "adam", "momentum": 0.9, "beta2": 0.99}


@pytest.mark.parametrize(
    ("ours", "theirs", "keys"),
    [
        ({"name": "sgd", "momentum": 0.0, "beta2": 0.0}, torch.optim.SGD, {}),
        ({"name": "sgd", "momentum": 0.7, "beta2": 0.0}, torch.optim.SGD, {"momentum": 0.7}),
        (ADAM, torch.optim.Adam, {"betas": (0.9, 0.99)}),
        ({"name": "adam", "momentum": 0.0, "beta2": 0.999}, torch.optim.Adam, {"betas": (0.0, 0.999)}),
    ],
)
def test_steps_are_those_of_torch(ours: dict, theirs: type[torch.optim.Optimizer], keys: dict) -> None:
    torch.manual_seed(0)
    start = torch.randn(5, dtype=torch.float64)
    gradients = torch.randn(6, 5, dtype=torch.float64) ** 3
    gradients[:, 2] = 0
    parameter = start.clone().requires_grad_()
    stepper = theirs([parameter], lr=0.1, **keys)
    mine, state, optimizer = start, {}, InnerOptimizer(**ours)
    for step, gradient in enumerate(gradients, start=1):
        parameter.grad = gradient.clone()
        stepper.step()
        direction, state = optimizer.direction({"w": gradient}, state, step)
        mine = mine - 0.1 * direction["w"]
        torch.testing.assert_close(mine, parameter.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("at", [0.0, 1e-20])
def test_a_zero_gradient_makes_no_nan_in_two_derivatives(at: float, dtype: torch.dtype) -> None:
    """A dead ReLU has no gradient; √0 has an infinite slope."""

    def moved(x: Tensor) -> Tensor:
        state: OptimizerState = {}
        for step in (1, 2):
            direction, state = InnerOptimizer(**ADAM).direction({"w": grad(lambda w: (w**2 / 2).sum())(x)}, state, step)
            x = x - 0.1 * direction["w"]
        return x.sum()

    x = torch.tensor([at, 1.0], dtype=dtype)
    assert moved(x).isfinite()
    assert grad(moved)(x).isfinite().all()
    if not at:
        assert jacrev(grad(moved))(x).isfinite().all()


def test_a_parameter_with_no_gradient_stays() -> None:
    direction, _ = InnerOptimizer(**ADAM).direction({"w": torch.zeros(3)}, {}, 1)
    assert not direction["w"].any()
