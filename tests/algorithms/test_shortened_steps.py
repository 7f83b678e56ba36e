"""Inner steps that would raise the inner loss are shortened, and others are as they were."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from builders import MLP, build, moved, task_of, waves

NAMES = ["imaml", "scratch", "finetune"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("shorten", [False, True])
def test_the_inner_loss_never_goes_up_however_large_the_step_size(shorten: bool, optimizer: str, name: str) -> None:
    """A step that ends where the loss is not a number does not move; without shortening, losses go up."""
    learner, phi = build(waves(), *MLP, f"algorithm={name}", inner_lr=1e3, inner_steps=6, shorten=shorten)
    chosen: Any = learner.algorithm
    chosen = replace(chosen, inner_optimizer=replace(chosen.inner_optimizer, name=optimizer))
    phi, task, losses = moved(phi), task_of(waves().sample("train", 0, 1), 0), []

    def visit(state: Any) -> None:
        away = sum((state.theta[name] - at).square().sum() for name, at in state.start.items())
        held = getattr(chosen, "proximal", 0) / 2 * away
        losses.append((learner.model.support_loss(state.theta, {}, {}, task.support)[0] + held).item())

    chosen.adapt(learner.model, {}, phi["theta"], task.support, {}, testing=True, visit=visit)
    falls = all(after <= before for before, after in itertools.pairwise(losses))
    assert len(losses) == 7
    assert falls == shorten
    assert not shorten or losses[-1] < losses[0]


@pytest.mark.parametrize("name", NAMES)
def test_steps_that_lower_the_loss_are_as_they_were(name: str) -> None:
    ends = []
    for shorten in (False, True):
        learner, phi = build(waves(), *MLP, f"algorithm={name}", inner_lr=1e-3, inner_steps=5, shorten=shorten)
        task = task_of(waves().sample("train", 0, 1), 0)
        end = learner.algorithm.adapt(learner.model, {}, moved(phi)["theta"], task.support, {}, testing=True)
        ends.append(end.theta)
        assert not torch.equal(end.theta["head.weight"], end.start["head.weight"])
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-15)
