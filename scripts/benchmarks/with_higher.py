"""The meta-step by the library higher (Grefenstette et al. 2019): patched modules, one task after another."""

from collections.abc import Callable
from itertools import pairwise

import higher
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.problem import learner, made_up
from benchmarks.rows import Row


def looped(row: Row, device: torch.device) -> Callable[[], dict[str, Tensor]]:
    theta, batch = learner(row, device)[1]["theta"], made_up(row, device)
    network = Network(row, theta["head.weight"].shape[1]).to(device)
    network.load_state_dict(theta)
    optimizer = torch.optim.SGD(network.parameters(), lr=row.inner_lr)
    loss = F.cross_entropy if row.ways else F.mse_loss

    def step() -> dict[str, Tensor]:
        network.zero_grad()
        for task in range(row.tasks):
            with higher.innerloop_ctx(network, optimizer, copy_initial_weights=False) as (adapted, inner):
                for _ in range(row.inner_steps):
                    inner.step(loss(adapted(batch.support.x[task]), batch.support.y[task]))
                (loss(adapted(batch.query.x[task]), batch.query.y[task]) / row.tasks).backward()
        named = network.named_parameters()
        return {f"theta.{name}": tensor.grad for name, tensor in named if tensor.grad is not None}

    return step


class Network(nn.Module):
    """The row's network, its parameters named as metarun's."""

    def __init__(self, row: Row, features: int) -> None:
        super().__init__()
        self.pool = row.pool
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        if row.network == "mlp":
            self.layers.extend(nn.Linear(a, b) for a, b in pairwise((1, 40, 40)))
        else:
            stride = 1 if row.pool else 2
            sizes = pairwise((row.input_shape[0], 64, 64, 64, 64))
            self.layers.extend(nn.Conv2d(a, b, 3, stride, 1, bias=False) for a, b in sizes)
            self.norms.extend(nn.BatchNorm2d(64, track_running_stats=False) for _ in range(4))
        self.head = nn.Linear(features, row.ways or 1)

    def forward(self, x: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if self.norms:
                x = self.norms[number](x)
            x = F.relu(x)
            if self.pool:
                x = F.max_pool2d(x, 2)
        return self.head(x.flatten(1) if self.pool or not self.norms else x.mean((2, 3)))
