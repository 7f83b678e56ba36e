"""The baselines that learn all tasks as one, against what can be known of them without training."""

import math

import pytest
import torch
import torch.nn.functional as F
from builders import CONV, MLP, Blobs, algorithm, build, moved, task_of, waves
from torch.func import functional_call

from metarun.algorithms.joint import Joint
from metarun.datasets.base import problem
from metarun.engine.evaluation import Evaluator
from metarun.engine.meta_gradient import MetaGradient
from metarun.engine.outer_optimiser import OuterOptimiser
from metarun.errors import UserError
from metarun.models.normalisation import Context


def test_joint_training_is_gradient_descent_on_all_examples() -> None:
    dataset = waves()
    learner, phi = build(dataset, *MLP, "algorithm=joint")
    batch = dataset.sample("train", 0, 4)
    leaves = {n: t.clone().requires_grad_() for n, t in phi["theta"].items()}
    x, y = (torch.cat((one, other), 1).flatten(0, 1) for one, other in zip(batch.support, batch.query, strict=True))
    loss = F.mse_loss(functional_call(learner.model.network, leaves, (x, Context())), y)
    wanted = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    found, _ = MetaGradient(learner, None, compiled=False)(phi, batch)
    torch.testing.assert_close(found["theta"], wanted, rtol=0, atol=1e-12)


def test_joint_training_comes_to_the_mean_of_all_sines_and_not_below() -> None:
    """Of the mean square E A²/2 of A sin(x − p), p in [0, π], the mean over tasks explains (E A · 2/π)²/2."""
    dataset = waves(10, 10)
    learner, phi = build(dataset, "model=mlp", "algorithm=joint")
    assert isinstance(learner.algorithm, Joint)
    optimiser = OuterOptimiser(learner.algorithm.outer, phi, clip=10.0)
    meta_gradient = MetaGradient(learner, None, compiled=False)
    for step in range(300):
        gradient, _ = meta_gradient(phi, dataset.sample("train", step, 16))
        optimiser.step(gradient, 0.005)
    nothing = (5**3 - 0.1**3) / (3 * 4.9) / 2
    best = nothing - (5.1 / 2 * 2 / math.pi) ** 2 / 2
    reached = Evaluator(learner)(phi, dataset, "test", 2000).mean("mse")
    assert 0.9 * best < reached < 1.1 * best < 0.85 * nothing


def test_labels_that_mean_another_class_in_every_task_are_refused() -> None:
    with pytest.raises(UserError, match=r"algorithm=joint: .* use algorithm=finetune"):
        algorithm("joint").check(problem(Blobs()))


def test_pretraining_tells_all_classes_apart_by_a_head_of_their_own() -> None:
    dataset = Blobs(ways=3, shots=2, queries=2)
    learner, phi = build(dataset, *CONV, "algorithm=finetune")
    phi = moved(phi)
    assert phi["algorithm"]["classes.weight"].shape == (40, phi["theta"]["head.weight"].shape[1])
    batch = dataset.sample("train", 0, 3)
    leaves = {n: t.clone().requires_grad_() for n, t in phi["theta"].items() if not n.startswith("head.")}
    head = {n.replace("classes.", "head."): t.clone().requires_grad_() for n, t in phi["algorithm"].items()}
    total = torch.zeros((), dtype=torch.float64)
    for number in range(3):
        task = task_of(batch, number)
        x, y = (torch.cat(parts) for parts in zip(task.support, task.query, strict=True))
        out = functional_call(learner.model.network, leaves | head, (x, Context(len(task.support.y))))
        total = total + F.cross_entropy(out, task.classes[y]) / 3
    everything = leaves | head
    wanted = dict(zip(everything, torch.autograd.grad(total, list(everything.values())), strict=True))
    found, _ = MetaGradient(learner, None, compiled=False)(phi, batch)
    for name in leaves:
        torch.testing.assert_close(found["theta"][name], wanted[name], rtol=1e-9, atol=1e-11)
    for name in ("weight", "bias"):
        torch.testing.assert_close(found["algorithm"][f"classes.{name}"], wanted[f"head.{name}"], rtol=1e-9, atol=1e-11)
        assert not found["theta"][f"head.{name}"].any(), "a test task's head is never trained"


def test_fine_tuning_takes_steps_at_test_only() -> None:
    chosen = algorithm("finetune", inner_steps=7)
    assert (chosen.steps(testing=False), chosen.steps(testing=True)) == (0, 7)
