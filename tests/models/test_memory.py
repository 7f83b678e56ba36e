"""What is remembered of tasks other than by gradients: the group `MEMORY` of φ."""

from dataclasses import dataclass, replace

import pytest
import torch
from builders import CONV, Blobs, build, task_of
from torch import Tensor

from metarun.algorithms.base import Draws, ObjectiveOutput
from metarun.algorithms.protonet import ProtoNet
from metarun.core.tasks import Task
from metarun.engine.evaluation import Evaluator
from metarun.engine.meta_gradient import MetaGradient
from metarun.inspection.task_gradients import task_gradients
from metarun.learner.learner import Learner, MetaParameters, remember
from metarun.models.base import Parameters, TaskModel
from metarun.models.memory import MEMORY, Memory
from metarun.training.outer_optimizer import OuterOptimizer


@dataclass(kw_only=True)
class Counting(ProtoNet):
    """Remembers how many meta-updates there were and a mean of the numbers of tasks, and predicts as it remembers."""

    def memory(self, theta: Parameters) -> Parameters:
        return {"updates": torch.zeros(()), "mean": torch.zeros(2), "untouched": torch.full((3,), 7.0)}

    def objective(
        self, model: TaskModel, params: Parameters, theta: Parameters, task: Task, draws: Draws
    ) -> ObjectiveOutput:
        outcome = super().objective(model, params, theta, task, draws)
        model.memory.report("updates", model.memory.now("updates") + 1)
        model.memory.report("mean", task.number.to(outcome.objective).expand(2))
        # Multiplied by θ: what is reported has a gradient, which must not count.
        model.memory.report("mean", model.memory.now("mean") + 0 * next(iter(theta.values())).sum())
        return outcome._replace(objective=outcome.objective + model.memory.now("mean").sum())


def counting() -> tuple[Learner, MetaParameters, Blobs]:
    dataset = Blobs()
    learner, _ = build(dataset, "algorithm=protonet", *CONV)
    algorithm = learner.algorithm
    assert isinstance(algorithm, ProtoNet)
    learner = replace(learner, algorithm=Counting(**vars(algorithm)))
    phi = {group: {n: t.double() for n, t in tensors.items()} for group, tensors in learner.initial().items()}
    return learner, phi, dataset


@pytest.mark.parametrize("chunk", [None, 1, 2, 3])
def test_entry_becomes_the_mean_of_reports(chunk: int | None) -> None:
    learner, phi, dataset = counting()
    meta_gradient = MetaGradient(learner, chunk, compiled=False)
    optimizer = OuterOptimizer(learner.algorithm.outer, phi, clip=1.0)  # type: ignore[attr-defined]
    for step in range(3):
        batch = dataset.sample("train", step, 5)
        gradient, _ = meta_gradient(phi, batch)
        norm = optimizer.step(gradient, 0.01)
        slopes = [tensor for group, tensors in gradient.items() if group != MEMORY for tensor in tensors.values()]
        torch.testing.assert_close(norm, torch.nn.utils.get_total_norm(slopes))
        remember(phi, gradient, frozen=torch.zeros(()))
        assert phi[MEMORY]["updates"] == pytest.approx(step + 1, abs=1e-12)
        torch.testing.assert_close(phi[MEMORY]["mean"], batch.number.double().mean().expand(2), rtol=0, atol=1e-12)
        assert torch.allclose(phi[MEMORY]["untouched"], torch.full((3,), 7.0).double(), rtol=0, atol=1e-12)


def test_no_gradient_through_memory() -> None:
    learner, phi, dataset = counting()
    task = task_of(dataset.sample("train", 0, 1), 0)
    leaves = {group: {n: t.clone().requires_grad_() for n, t in tensors.items()} for group, tensors in phi.items()}
    objective, (_, reports) = learner.objective_and_reports(leaves, task, {})
    slopes = torch.autograd.grad(objective, list(leaves[MEMORY].values()), allow_unused=True)
    assert slopes == (None, None, None)
    assert not any(report.requires_grad for report in reports.values())
    assert task_gradients(learner, phi, dataset, 3, 0.5, 2).outer.keys() <= {f"theta.{n}" for n in (
        "layers.0", "layers.1", "norms.0", "norms.1"
    )}  # fmt: skip


def test_nothing_is_remembered_of_an_evaluation() -> None:
    learner, phi, dataset = counting()
    Evaluator(learner, 2)(phi, dataset, "test", 3)
    assert phi[MEMORY]["updates"] == 0
    memory = learner.for_task(phi).memory
    memory.report("updates", torch.ones(()))
    assert memory.now("updates") == 0


def test_tasks_share_no_memory() -> None:
    held: dict[str, Tensor] = {"entry": torch.zeros(1)}
    one, other = Memory(held, learning=True), Memory(held, learning=True)
    one.report("entry", torch.ones(1))
    assert (one.now("entry"), other.now("entry")) == (torch.ones(1), torch.zeros(1))
    assert held["entry"] == 0
