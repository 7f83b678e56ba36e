"""How near iMAML's meta-gradient is to that of the unrolled inner loop, at the start of a run and where it ended.

    scripts/implicit_gradients.py RUN [--tasks 8] [--steps N] [--lr RATE]

RUN: the folder of a run of ``algorithm=imaml``. On the first tasks of meta-training, in float64, prints the cosine of
the angle between the meta-gradient of each solver and the one that differentiates through the inner loop, beside the
cosine of the first-order gradient. The implicit gradient assumes that the inner loop has converged: ``--steps`` and
``--lr`` give it other inner steps than the run's, and ``left`` is the gradient of the inner loss at its end, relative
to that at the start.
"""

import argparse
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.utils._pytree import tree_leaves, tree_map

from metarun.algorithms.base import Draws, ObjectiveOutput
from metarun.algorithms.imaml import IMAML
from metarun.core.tasks import Task, TaskBatch
from metarun.engine.meta_gradient import MetaGradient
from metarun.learner.learner import Learner, MetaParameters
from metarun.models.base import Parameters, TaskModel
from metarun.runs.checkpoint import read
from metarun.runs.files import best_file
from metarun.setup.assemble import assemble
from metarun.setup.reload import settings_of

SOLVERS: dict[str, dict[str, Any]] = {
    "the run's": {},
    "gauss_newton cg": {"curvature": "gauss_newton", "solver": "cg", "damping": 0.0},
    "gauss_newton neumann": {"curvature": "gauss_newton", "solver": "neumann", "damping": 0.0},
    "hessian cg": {"curvature": "hessian", "solver": "cg", "damping": 0.0},
    "hessian neumann": {"curvature": "hessian", "solver": "neumann", "damping": 0.0},
    "hessian cg, damping 30": {"curvature": "hessian", "solver": "cg", "damping": 30.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--steps", type=int, help="inner steps; otherwise the run's")
    parser.add_argument("--lr", type=float, help="inner step size; otherwise the run's")
    given = parser.parse_args()
    file, cpu = best_file(given.run), torch.device("cpu")
    content = read(file, cpu)
    settings = settings_of(content.config, file, "cpu")
    if not isinstance(settings.algorithm, IMAML):
        parser.error(f"{given.run}: a run of another algorithm")
    asked = {"inner_steps": given.steps, "inner_lr": given.lr}
    chosen = replace(settings.algorithm, **{key: value for key, value in asked.items() if value is not None})
    precise = replace(settings, algorithm=chosen, device=replace(settings.device, precision="float64"))
    learner, start = assemble(precise, content.problem, cpu)
    batch = settings.dataset.load(settings.seed, cpu, torch.float64, settings.engine.episode_seed).sample(
        "train", 0, given.tasks
    )
    end = tree_map(lambda tensor, like: tensor.to(like.dtype), content.state.phi, start)
    print(f"| at | left | first order | {' | '.join(SOLVERS)} |\n|{' --- |' * (3 + len(SOLVERS))}")
    for name, phi in (("initialization", start), (f"meta-update {content.state.step}", end)):
        cells = [f"{value:.2f}" for value in (left(learner, phi, batch), *cosines(learner, chosen, phi, batch))]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def cosines(learner: Learner, imaml: IMAML, phi: MetaParameters, batch: TaskBatch) -> list[float]:
    """With the unrolled meta-gradient: of the first-order one, and of those of every solver."""

    def flat(algorithm: Any) -> Tensor:
        gradient, _ = MetaGradient(replace(learner, algorithm=algorithm), 2, compiled=False)(phi, batch)
        return torch.cat([tensor.flatten() for tensor in tree_leaves(gradient["theta"])])

    wanted = flat(unrolled(imaml, order=2))
    others = [unrolled(imaml, order=1), *(replace(imaml, **keys) for keys in SOLVERS.values())]
    return [torch.cosine_similarity(wanted, flat(other), dim=0).item() for other in others]


@dataclass(kw_only=True)
class Unrolled(IMAML):
    """The same inner loop, with an outer rule that differentiates through it, or stops at its end (``order`` 1)."""

    order: int

    @property
    def second_order(self) -> bool:
        return self.order == 2

    def point(self, theta: Parameters, draws: Draws) -> Parameters:
        return theta if self.second_order else super().point(theta, draws)

    def objective(
        self, model: TaskModel, params: Parameters, theta: Parameters, task: Task, draws: Draws
    ) -> ObjectiveOutput:
        return self.query_loss(model, params, self.adapt(model, params, theta, task.support, draws), task)


def unrolled(imaml: IMAML, order: int) -> Unrolled:
    return Unrolled(**{field.name: getattr(imaml, field.name) for field in fields(imaml)}, order=order)


def left(learner: Learner, phi: MetaParameters, batch: TaskBatch) -> float:
    """The norm of the inner loss's gradient where the inner loop ends, relative to the start; mean over tasks."""
    imaml = learner.algorithm
    assert isinstance(imaml, IMAML)

    def of(task: Task) -> Tensor:
        start = learner.start(phi, task, testing=False)
        end = imaml.adapt(learner.model, {}, start, task.support, {}).theta
        loss = grad(lambda theta: learner.model.support_loss(theta, {}, {}, task.support)[0])
        first, last = loss(start), loss(end)
        held = {name: slope + imaml.proximal * (end[name] - start[name]) for name, slope in last.items()}
        return norm(held) / norm(first)

    relative: Tensor = vmap(of)(batch)
    return relative.mean().item()


def norm(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()]).norm()


if __name__ == "__main__":
    main()
