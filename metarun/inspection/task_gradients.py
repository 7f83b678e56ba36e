"""Gradients of single tasks by φ and by their initialization: norms by layer, and cosine similarities."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad
from torch.utils._pytree import tree_leaves, tree_map

from metarun.algorithms.base import Draws
from metarun.algorithms.gradient_based import GradientBased
from metarun.core.tasks import Task, TaskBatch, chunks
from metarun.datasets.base import Dataset
from metarun.engine.memory_estimate import as_memory_allows
from metarun.engine.over_tasks import over_tasks
from metarun.engine.selection import sketch
from metarun.learner.learner import Learner, MetaParameters, moving
from metarun.models.base import Parameters, layer_of

HELD = 2**24
"""Numbers of all tasks' gradients that are held at once; where there are more, each is kept as its sketch."""


@dataclass(frozen=True)
class TaskGradients:
    """Of T meta-training tasks, on CPU.

    outer: by layer of φ, the norm of the mean over tasks of the gradient that the outer loop follows. before, after: by
    layer of θ, the norm of the gradient of the loss on the support set at θ_t⁰ and at θ_t', mean over tasks; empty
    where there are no inner steps. cosines: between the tasks' meta-gradients, ``[T, T]``, of ones that vanish 0.
    sketches: the meta-gradients, or where they are long a projection that keeps distances, ``[T, n]``.
    """

    outer: dict[str, float]
    before: dict[str, float]
    after: dict[str, float]
    cosines: Tensor
    sketches: Tensor


def task_gradients(
    learner: Learner, phi: MetaParameters, dataset: Dataset, tasks: int, progress: float, at_once: int
) -> TaskGradients:
    """Of the first ``tasks`` tasks of meta-training, ``at_once`` at once; ``progress``: the share of training done.

    They lack the output regularizer, which is no task's.
    """
    batch = dataset.sample("train", 0, tasks)
    size = sum(tensor.numel() for group in moving(phi).values() for tensor in group.values())
    at_once = max(1, min(at_once, HELD // size))
    exact = tasks * size <= HELD

    def computed(at_once: int) -> tuple[Tensor, Tensor, MetaParameters, list[dict[str, Tensor]]]:
        whole: list[Tensor] = []
        sketched: list[Tensor] = []
        inner: list[dict[str, Tensor]] = []
        total: MetaParameters = {}
        for part in chunks(batch, at_once):
            draws = learner.draws(part, testing=False, progress=progress)
            slopes, _ = over_tasks(grad(learner.objective, has_aux=True))(phi, part, draws)
            gradients = moving(slopes)
            flat = torch.cat([tensor.reshape(len(part.number), -1) for tensor in tree_leaves(gradients)], 1)
            sketched.append(torch.stack([sketch(row, learner.seed) for row in flat]).cpu())
            whole.append(flat.cpu() if exact else sketched[-1])
            sums = tree_map(lambda tensor: tensor.sum(0), gradients)
            total = tree_map(torch.add, total, sums) if total else sums
            inner.append(_inner(learner, phi, part, draws))
        return torch.cat(whole), torch.cat(sketched), total, inner

    with torch.no_grad():
        (whole, sketches, totals, inner), _ = as_memory_allows(computed, at_once)
    mean = {f"{group}.{n}": total / tasks for group, tensors in totals.items() for n, total in tensors.items()}
    means = {name: torch.cat([part[name] for part in inner]).mean().item() for name in inner[0]}
    return TaskGradients(
        outer={layer: norm.item() for layer, norm in _by_layer(mean).items()},
        before={name.removeprefix("before "): value for name, value in means.items() if name.startswith("before ")},
        after={name.removeprefix("after "): value for name, value in means.items() if name.startswith("after ")},
        cosines=cosines(whole),
        sketches=sketches,
    )


def cosines(vectors: Tensor) -> Tensor:
    """Between vectors ``[T, n]``, float64 ``[T, T]``; 0 where one is 0."""
    vectors = vectors.double()
    norms = vectors.norm(dim=1, keepdim=True)
    units = vectors / torch.where(norms > 0, norms, 1)
    return units @ units.T


def _inner(learner: Learner, phi: MetaParameters, tasks: TaskBatch, draws: Draws) -> dict[str, Tensor]:
    """By ``before`` or ``after`` and the layer, the norm of each task's inner gradient, ``[T]``."""
    algorithm = learner.algorithm
    if not isinstance(algorithm, GradientBased) or not algorithm.steps(testing=False):
        return {}

    def norms(phi: MetaParameters, task: Task, draws: Draws) -> dict[str, Tensor]:
        params, start = phi["algorithm"], learner.start(phi, task, testing=False)
        model = learner.for_task(phi, learning=True)
        states = {
            "before": algorithm.initial_state(params, start),
            "after": algorithm.adapt(model, params, start, task.support, draws),
        }
        found: dict[str, Tensor] = {}
        for when, state in states.items():
            adapting = {n: t for n, t in state.theta.items() if algorithm.adapts(n)}
            fixed = {n: t for n, t in state.theta.items() if not algorithm.adapts(n)}
            slopes, _ = grad(model.support_loss, has_aux=True)(adapting, fixed, state.running, task.support)
            found |= {f"{when} {layer}": norm for layer, norm in _by_layer(slopes).items()}
        return found

    norms_of: dict[str, Tensor] = over_tasks(norms)(phi, tasks, draws)
    return norms_of


def _by_layer(tensors: Parameters) -> dict[str, Tensor]:
    """The norm of the tensors of each layer together."""
    squares: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        layer = layer_of(name)
        squares[layer] = squares.get(layer, 0) + tensor.square().sum()
    return {layer: square.sqrt() for layer, square in squares.items()}
