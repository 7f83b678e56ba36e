"""The hypernetwork that makes every weight."""

from dataclasses import replace

import pytest
import torch
from builders import CONV, HYPERNET, Blobs, build, settings, task_of
from torch import Tensor, nn

from metarun.errors import UserError
from metarun.models.base import Parameters


def test_with_delta_every_task_starts_exactly_at_theta_0() -> None:
    learner, phi = build(Blobs(), *CONV, *HYPERNET)
    batch = Blobs().sample("train", 0, 3)
    for number in range(3):
        start = learner.start(phi, task_of(batch, number).support)
        assert start.keys() == phi["theta"].keys()
        assert all(torch.equal(start[name], phi["theta"][name]) for name in start)


def test_without_delta_all_of_theta_is_made_from_the_task() -> None:
    learner, phi = build(Blobs(), *CONV, *HYPERNET, "hypernet.delta=false")
    assert phi["theta"] == {}
    batch = Blobs().sample("train", 0, 2)
    one, other = (learner.start(phi, task_of(batch, number).support) for number in range(2))
    shapes = {name: parameter.shape for name, parameter in learner.model.network.named_parameters()}
    assert {name: tensor.shape for name, tensor in one.items()} == shapes
    # The gains of normalisation layers start at one for every task, and their shifts vary.
    assert all(torch.equal(one[name], torch.ones_like(one[name])) for name in one if name.endswith("norms.0.weight"))
    assert all((one[name] != other[name]).any() for name in one if name.startswith(("layers", "head")))


def test_without_delta_activations_keep_their_scale() -> None:
    """Each layer's outputs before the ReLU have about the size of its inputs: no explosion, no decay with depth."""
    depth, width = 6, 64
    theta = {f"{layer}.weight": torch.zeros(width, width) for layer in range(depth)}
    theta |= {f"{layer}.bias": torch.zeros(width) for layer in range(depth)}
    config = replace(settings("hypernet=full", "embedding=support").hypernet, delta=False)
    sizes: list[list[float]] = []
    for seed in range(20):
        torch.manual_seed(seed)
        made: Parameters = config.build(32, theta)({}, torch.randn(32))
        sizes.append(layer_sizes(made, torch.randn(100, width), depth))
    mean = torch.tensor(sizes).mean(0)
    assert mean.min() > 0.5
    assert mean.max() < 2


def layer_sizes(made: Parameters, x: Tensor, depth: int) -> list[float]:
    """Root mean square of every layer's outputs, before the ReLU."""
    sizes = []
    for layer in range(depth):
        x = nn.functional.linear(x, made[f"{layer}.weight"], made[f"{layer}.bias"])
        sizes.append(float(x.detach().square().mean().sqrt()))
        x = x.relu()
    return sizes


@pytest.mark.parametrize("hidden", [[], [8, 0]])
def test_layers_that_are_none_are_refused(hidden: list[int]) -> None:
    with pytest.raises(UserError, match=r"hypernet\.hidden=.* give at least one layer"):
        replace(settings("hypernet=full", "embedding=support").hypernet, hidden=hidden).build(4, {})


def test_without_a_hypernetwork_every_task_starts_at_theta_0_itself() -> None:
    learner, phi = build(Blobs(), *CONV)
    start = learner.start(phi, task_of(Blobs().sample("train", 0, 1), 0).support)
    assert start == phi["theta"]
    assert phi["hypernet"] == phi["embedding"] == {}
