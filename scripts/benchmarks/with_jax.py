"""The meta-step in JAX: ``jit`` of the gradient of a ``vmap`` over tasks, float32."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import Array, lax

from benchmarks.problem import learner, made_up
from benchmarks.rows import Row

Theta = dict[str, Array]

jax.config.update("jax_default_matmul_precision", "highest")  # on GPUs it would be TensorFloat-32


def batched(row: Row, device: torch.device) -> Callable[[], dict[str, np.ndarray]]:
    """Raises `RuntimeError` where this JAX has no such device."""
    platform = {"cpu": "cpu", "cuda": "gpu"}[device.type]
    placed = jax.devices(platform)[0]
    cpu = torch.device("cpu")
    tasks = made_up(row, cpu)
    numbers = ({n: t.numpy() for n, t in learner(row, cpu)[1]["theta"].items()},
               *(part.numpy() for part in (*tasks.support[:2], *tasks.query[:2])))  # fmt: skip
    theta, *data = jax.device_put(numbers, placed)

    def objective(theta: Theta, support_x: Array, support_y: Array, query_x: Array, query_y: Array) -> Array:
        adapted = theta
        for _ in range(row.inner_steps):
            gradient = jax.grad(loss, argnums=1)(row, adapted, support_x, support_y)
            adapted = {name: tensor - row.inner_lr * gradient[name] for name, tensor in adapted.items()}
        return loss(row, adapted, query_x, query_y)

    @jax.jit
    def meta_gradient(theta: Theta, *data: Array) -> Theta:
        return jax.grad(lambda start: jax.vmap(objective, (None, 0, 0, 0, 0))(start, *data).mean())(theta)

    def step() -> dict[str, np.ndarray]:
        gradient = jax.block_until_ready(meta_gradient(theta, *data))
        return {f"theta.{name}": np.asarray(tensor) for name, tensor in gradient.items()}

    return step


def loss(row: Row, theta: Theta, x: Array, y: Array) -> Array:
    if row.network == "mlp":
        return jnp.mean((mlp(theta, x) - y) ** 2)
    chosen = jax.nn.log_softmax(conv4(theta, x, row.pool))
    return -jnp.mean(jnp.take_along_axis(chosen, y[:, None], 1))


def mlp(theta: Theta, x: Array) -> Array:
    for layer in range(2):
        x = jax.nn.relu(x @ theta[f"layers.{layer}.weight"].T + theta[f"layers.{layer}.bias"])
    return x @ theta["head.weight"].T + theta["head.bias"]


def conv4(theta: Theta, x: Array, pool: bool) -> Array:
    stride = 1 if pool else 2
    for layer in range(4):
        x = lax.conv_general_dilated(x, theta[f"layers.{layer}.weight"], (stride, stride), ((1, 1), (1, 1)))
        mean, variance = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
        gain, shift = (theta[f"norms.{layer}.{name}"][:, None, None] for name in ("weight", "bias"))
        x = jax.nn.relu((x - mean) * lax.rsqrt(variance + 1e-5) * gain + shift)
        if pool:
            height, width = x.shape[2] // 2, x.shape[3] // 2
            halves = x[:, :, : 2 * height, : 2 * width].reshape(*x.shape[:2], height, 2, width, 2)
            x = halves.max((3, 5))
    x = x.reshape(len(x), -1) if pool else x.mean((2, 3))
    return x @ theta["head.weight"].T + theta["head.bias"]
