"""The meta-step by metarun, batched; and its objective for one task after another."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from benchmarks.problem import learner, made_up
from benchmarks.rows import BF16, COMPILED, COMPILED_GRAPHS, EXACT, GRAPHS, Row
from metarun.engine.meta_gradient import MetaGradient
from metarun.learner.learner import MetaParameters

PRECISION = {EXACT: "float64", BF16: "bf16"}
"""Of the variants whose precision is not float32."""


def batched(row: Row, device: torch.device, variant: str) -> Callable[[], dict[str, Tensor]]:
    """The engine's meta-gradient; ``variant``: float64 (eager), eager, graphs (eager), compiled, compiled-graphs, or
    bf16 (compiled, on CUDA with graphs)."""
    made, phi = learner(row, device, PRECISION.get(variant, "float32"))
    batch = made_up(row, device, torch.float64 if variant == EXACT else torch.float32)
    compiled = variant in (COMPILED, COMPILED_GRAPHS, BF16)
    recorded = variant in (GRAPHS, COMPILED_GRAPHS) or (variant == BF16 and device.type == "cuda")
    meta_gradient = MetaGradient(made, row.chunk, compiled)
    if recorded:
        meta_gradient = meta_gradient.recorded()

    def step() -> dict[str, Tensor]:
        return dict(_named(meta_gradient(phi, batch)[0]))

    return step


def looped(row: Row, device: torch.device) -> Callable[[], dict[str, Tensor]]:
    """A Python loop over tasks around the same objective, for rows that the plain loop does not know."""
    made, phi = learner(row, device)
    phi = tree_map(lambda tensor: tensor.requires_grad_(), phi)
    batch, leaves = made_up(row, device), [tensor for _, tensor in _named(phi)]
    draws = made.draws(batch, testing=False, progress=0.0)
    tasks = [tree_map(lambda tensor, n=n: tensor[n], (batch, draws)) for n in range(row.tasks)]

    def step() -> dict[str, Tensor]:
        for leaf in leaves:
            leaf.grad = None
        for task, drawn in tasks:
            objective, _ = made.objective(phi, task, drawn)
            (objective / row.tasks).backward()
        return {name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in _named(phi)}

    return step


def _named(phi: MetaParameters) -> Iterator[tuple[str, Tensor]]:
    for group, tensors in phi.items():
        for name, tensor in tensors.items():
            yield f"{group}.{name}", tensor
