"""Reptile against loops written with PyTorch's own optimizers."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from builders import MLP, algorithm, alone, build, linear, regressions, task_of, waves
from torch import Tensor

from metarun.algorithms.base import Learned
from metarun.algorithms.outer_loop import OuterLoop
from metarun.core.tasks import TaskBatch
from metarun.engine.evaluation import Evaluator
from metarun.engine.meta_gradient import MetaGradient
from metarun.learner.learner import Learner, MetaParameters, remember
from metarun.models.base import Parameters
from metarun.models.inner_optimizer import InnerOptimizer
from metarun.models.memory import MEMORY
from metarun.models.normalization import Context
from metarun.training.outer_optimizer import OuterOptimizer

EPSILON = 0.3
OUTER: OuterLoop = replace(algorithm("reptile").outer, lr=EPSILON, schedule="constant")  # type: ignore[attr-defined]
SGD = InnerOptimizer(name="sgd", momentum=0.0, beta2=0.999)


def after_one_meta_update(learner: Learner, phi: MetaParameters, batch: TaskBatch) -> Parameters:
    assert isinstance(learner.algorithm, Learned)
    gradient, _ = MetaGradient(learner, 2, compiled=False)(phi, batch)
    now = {group: {name: tensor.clone() for name, tensor in tensors.items()} for group, tensors in phi.items()}
    OuterOptimizer(OUTER, now, clip=None).step(gradient, EPSILON)
    return now["theta"]


def plain_loop(
    learner: Learner, theta: Parameters, batch: TaskBatch, optimizer: type[torch.optim.Optimizer], **keys: Any
) -> list[Parameters]:
    """Where the inner loops of all tasks end, each with a network and an optimizer of its own."""
    return [end for end, _ in ends_and_optimizers(learner, theta, batch, optimizer, **keys)]


def ends_and_optimizers(
    learner: Learner,
    theta: Parameters,
    batch: TaskBatch,
    optimizer: type[torch.optim.Optimizer],
    begun: dict[str, dict[str, Tensor]] | None = None,
    testing: bool = False,
    **keys: Any,
) -> list[tuple[Parameters, dict[str, dict[str, Tensor]]]]:
    """The same, with the optimizer's state by parameter; which begins as ``begun``, where that is given."""
    draws = learner.draws(batch, testing, 0.0)
    ends = []
    for number in range(len(batch.number)):
        network = deepcopy(learner.model.network)
        network.load_state_dict(theta)
        stepper = optimizer(network.parameters(), **keys)
        for name, parameter in network.named_parameters():
            if begun is not None:
                stepper.state[parameter] = {part: tensor.clone() for part, tensor in begun[name].items()}
        x, y = task_of(batch, number).support
        for step in range(learner.algorithm.steps(testing)):
            picked = draws["minibatches"][number, step] if draws else slice(None)
            stepper.zero_grad()
            F.mse_loss(network(x[picked], Context()), y[picked]).backward()
            stepper.step()
        end = {name: tensor.detach() for name, tensor in network.named_parameters()}
        ends.append((end, {name: stepper.state[parameter] for name, parameter in network.named_parameters()}))
    return ends


def interpolated(theta: Parameters, ends: list[Parameters]) -> Parameters:
    """θ⁰ + ε·mean(θ' − θ⁰)."""
    mean = {name: torch.stack([end[name] - theta[name] for end in ends]).mean(0) for name in theta}
    return {name: theta[name] + EPSILON * mean[name] for name in theta}


def test_a_meta_update_is_the_interpolation_with_torchs_adam_on_minibatches() -> None:
    dataset = waves(shots=7)
    learner, phi = build(
        dataset, *MLP, "algorithm=reptile", inner_lr=0.02, inner_steps=6, minibatch=3, keep_moments=False
    )
    batch = dataset.sample("train", 0, 5)
    ends = plain_loop(learner, phi["theta"], batch, torch.optim.Adam, lr=0.02, betas=(0.0, 0.999))
    after = after_one_meta_update(learner, phi, batch)
    torch.testing.assert_close(after, interpolated(phi["theta"], ends), rtol=0, atol=1e-9)


def test_a_meta_update_is_the_interpolation_with_sgd() -> None:
    learner, phi = linear(algorithm("reptile", inner_lr=0.05, inner_steps=4, inner_optimizer=SGD, minibatch=None))
    batch = regressions()
    ends = plain_loop(learner, phi["theta"], batch, torch.optim.SGD, lr=0.05)
    after = after_one_meta_update(learner, phi, batch)
    torch.testing.assert_close(after, interpolated(phi["theta"], ends), rtol=0, atol=1e-12)


def test_one_inner_step_is_sgd_on_the_mean_loss_of_all_tasks() -> None:
    learner, phi = linear(algorithm("reptile", inner_lr=0.05, inner_steps=1, inner_optimizer=SGD, minibatch=None))
    batch = regressions()
    w = phi["theta"]["head.weight"].clone().requires_grad_()
    F.mse_loss(batch.support.x @ w.T, batch.support.y).backward()
    assert w.grad is not None
    after = after_one_meta_update(learner, phi, batch)["head.weight"]
    torch.testing.assert_close(after, (w - EPSILON * 0.05 * w.grad).detach(), rtol=0, atol=1e-12)


def test_the_queries_play_no_part() -> None:
    learner, phi = linear(algorithm("reptile", minibatch=None))
    batch = regressions()
    other = batch._replace(query=batch.query._replace(y=batch.query.y + 1))
    torch.testing.assert_close(
        after_one_meta_update(learner, phi, batch), after_one_meta_update(learner, phi, other), rtol=0, atol=0
    )


def test_the_inner_optimizers_state_may_be_born_and_die_with_the_task() -> None:
    dataset = waves()
    learner, phi = build(dataset, *MLP, "algorithm=reptile", inner_steps=3, minibatch=None, keep_moments=False)
    assert phi[MEMORY] == {}
    task = task_of(dataset.sample("train", 0, 3), 1)
    assert learner.algorithm.initial_state({}, phi["theta"]).optimizer == {}
    first, second = (learner.algorithm.adapt(learner.model, {}, phi["theta"], task.support, {}) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    # One task's end doesn't depend on which tasks are computed before or beside it.
    batch = dataset.sample("train", 0, 3)
    ends = [after_one_meta_update(learner, phi, task_batch(batch, number)) for number in range(3)]
    mean = {name: torch.stack([end[name] for end in ends]).mean(0) for name in ends[0]}
    torch.testing.assert_close(after_one_meta_update(learner, phi, batch), mean, rtol=0, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("chunk", [None, 2])
def test_kept_moments_are_those_of_one_adam(momentum: float, chunk: int | None) -> None:
    """Against torch's Adam, whose state is that of the last meta-update: the mean of the tasks' where they ended."""
    dataset = waves(shots=7)
    keys = {"inner_lr": 0.02, "inner_steps": 4, "minibatch": 3, "test_steps": 6, "test_minibatch": 2}
    inner = InnerOptimizer(name="adam", momentum=momentum, beta2=0.9)
    learner, phi = build(dataset, *MLP, "algorithm=reptile", keep_moments=True, inner_optimizer=inner, **keys)
    torchs = {"lr": 0.02, "betas": (momentum, 0.9)}
    assert all(not tensor.any() for tensor in phi[MEMORY].values())
    optimizer, meta_gradient = OuterOptimizer(OUTER, phi, clip=None), MetaGradient(learner, chunk, compiled=False)
    theta = {name: tensor.clone() for name, tensor in phi["theta"].items()}
    begun = None
    for update in range(3):
        batch = dataset.sample("train", update, 5)
        done = ends_and_optimizers(learner, theta, batch, torch.optim.Adam, begun, **torchs)
        theta = interpolated(theta, [end for end, _ in done])
        begun = {
            name: {part: torch.stack([state[name][part] for _, state in done]).mean(0) for part in done[0][1][name]}
            for name in theta
        }
        gradient, _ = meta_gradient(phi, batch)
        optimizer.step(gradient, EPSILON)
        remember(phi, gradient, frozen=torch.zeros(()))
        torch.testing.assert_close(phi["theta"], theta, rtol=0, atol=1e-9)
        assert phi[MEMORY]["optimizer.steps"] == 4 * (update + 1)
        for name, state in begun.items():
            torch.testing.assert_close(phi[MEMORY][f"optimizer.square.{name}"], state["exp_avg_sq"], rtol=0, atol=1e-9)
    # A test task begins with them, and leaves them alone.
    before = {name: tensor.clone() for name, tensor in phi[MEMORY].items()}
    tests = dataset.sample("test", 0, 2)
    ((end, _), *_) = ends_and_optimizers(learner, theta, tests, torch.optim.Adam, begun, testing=True, **torchs)
    draws = {name: value[0] for name, value in learner.draws(tests, True, 1.0).items()}
    model, support = learner.for_task(phi), task_of(tests, 0).support
    adapted = learner.algorithm.adapt(model, {}, phi["theta"], support, draws, testing=True).theta
    torch.testing.assert_close(adapted, end, rtol=0, atol=1e-9)
    Evaluator(learner)(phi, dataset, "test", 3)
    torch.testing.assert_close(phi[MEMORY], before, rtol=0, atol=0)


def test_optimizers_without_moments_keep_none() -> None:
    for inner, names in ((SGD, set()), (replace(SGD, momentum=0.9), {"velocity"})):
        _, phi = build(waves(), *MLP, "algorithm=reptile", keep_moments=True, inner_optimizer=inner)
        kept = {name.split(".")[1] for name in phi[MEMORY]}
        assert kept == (names | {"steps"} if names else set())


def task_batch(batch: TaskBatch, number: int) -> TaskBatch:
    return alone(task_of(batch, number))
