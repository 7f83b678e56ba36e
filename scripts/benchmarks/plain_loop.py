"""The meta-step as most code bases have it: a Python loop over tasks, PyTorch alone.

Networks are functions of their parameters, written out: a quarter faster, on the sine, than calls of modules with other
parameters.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.problem import learner, made_up
from benchmarks.rows import Row

Theta = dict[str, Tensor]


def looped(row: Row, device: torch.device, precision: str = "float32") -> Callable[[], dict[str, Tensor]]:
    """One task after another: inner steps by ``autograd.grad(create_graph=True)``, then ``backward``."""
    start = learner(row, device, precision)[1]["theta"]
    theta = {name: tensor.requires_grad_() for name, tensor in start.items()}
    batch = made_up(row, device, getattr(torch, precision))

    def step() -> dict[str, Tensor]:
        for tensor in theta.values():
            tensor.grad = None
        for task in range(row.tasks):
            adapted = dict(theta)
            for _ in range(row.inner_steps):
                inner = loss(row, adapted, batch.support.x[task], batch.support.y[task])
                gradient = torch.autograd.grad(inner, list(adapted.values()), create_graph=True)
                pairs = zip(adapted.items(), gradient, strict=True)
                adapted = {name: tensor - row.inner_lr * slope for (name, tensor), slope in pairs}
            (loss(row, adapted, batch.query.x[task], batch.query.y[task]) / row.tasks).backward()
        return {f"theta.{name}": tensor.grad for name, tensor in theta.items() if tensor.grad is not None}

    return step


def loss(row: Row, theta: Theta, x: Tensor, y: Tensor) -> Tensor:
    if row.network == "mlp":
        return F.mse_loss(mlp(theta, x), y)
    return F.cross_entropy(conv4(theta, x, row.pool), y)


def mlp(theta: Theta, x: Tensor) -> Tensor:
    for layer in range(2):
        x = F.relu(F.linear(x, theta[f"layers.{layer}.weight"], theta[f"layers.{layer}.bias"]))
    return F.linear(x, theta["head.weight"], theta["head.bias"])


def conv4(theta: Theta, x: Tensor, pool: bool) -> Tensor:
    for layer in range(4):
        x = F.conv2d(x, theta[f"layers.{layer}.weight"], stride=1 if pool else 2, padding=1)
        x = F.batch_norm(x, None, None, theta[f"norms.{layer}.weight"], theta[f"norms.{layer}.bias"], training=True)
        x = F.relu(x)
        if pool:
            x = F.max_pool2d(x, 2)
    x = x.flatten(1) if pool else x.mean((2, 3))
    return F.linear(x, theta["head.weight"], theta["head.bias"])
