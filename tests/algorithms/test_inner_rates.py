"""Learned step sizes on a logarithmic or relative scale, and their bounds."""

from collections.abc import Callable
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import MLP, algorithm, build, moved, waves

from metarun.algorithms.inner_rates import InnerRates
from metarun.config.compose import compose, plain
from metarun.core.errors import UserError
from metarun.engine.meta_gradient import MetaGradient
from metarun.inspection.step_sizes import step_sizes
from metarun.runs.checkpoint import read
from metarun.runs.files import last_file
from metarun.setup.check import check
from metarun.training.outer_optimizer import OuterOptimizer

START = {"inner_lr": 0.05, "inner_steps": 2}


def rates(**keys: Any) -> InnerRates:
    whole = {"per": "layer", "each_step": True, "learned": True, "scale": "linear", "least": None, "most": None}
    return InnerRates(**{**whole, **keys})


def test_the_gradient_of_a_logarithm_or_ratio_is_the_step_sizes_times_theirs() -> None:
    """And the step sizes, as what they do, are the same."""
    found = []
    for scale in ("linear", "log", "relative"):
        learner, phi = build(waves(), *MLP, "algorithm=maml", rates=rates(scale=scale), **START)
        phi["theta"] = moved(phi)["theta"]
        gradient, metrics = MetaGradient(learner, None, compiled=False)(phi, waves().sample("train", 0, 4))
        found.append((gradient, metrics, step_sizes(learner, phi)))
    (linear, one, sizes), *scaled = found
    assert all(bool(slope.any()) for slope in linear["algorithm"].values())
    wanted = {name: 0.05 * slope for name, slope in linear["algorithm"].items()}
    for gradient, metrics, same in scaled:
        torch.testing.assert_close(gradient["theta"], linear["theta"], rtol=0, atol=1e-12)
        torch.testing.assert_close(metrics, one, rtol=0, atol=1e-12)
        torch.testing.assert_close(same, sizes, rtol=0, atol=1e-12)
        torch.testing.assert_close(gradient["algorithm"], wanted, rtol=0, atol=1e-12)


def test_on_a_logarithmic_scale_adam_moves_step_sizes_in_proportion() -> None:
    """Its first step is of its own step size, 0.1: by a factor of e^0.1, whereas 0.05 - 0.1 would be negative."""
    learner, phi = build(waves(), *MLP, "algorithm=maml", rates=rates(scale="log"), **START)
    gradient, _ = MetaGradient(learner, None, compiled=False)(phi, waves().sample("train", 0, 4))
    optimizer = OuterOptimizer(learner.algorithm.outer, phi, clip=None)  # type: ignore[attr-defined]
    optimizer.step(gradient, 0.1)
    for sizes in step_sizes(learner, phi).values():
        factor = torch.log(sizes / 0.05).abs()
        torch.testing.assert_close(factor, torch.full_like(factor, 0.1), rtol=1e-4, atol=0)


def test_relative_scale_moves_step_sizes_by_a_fraction_of_their_initial_value() -> None:
    """Its steps are of its own step size, 0.1: by a tenth of 0.05; in a range, of its upper end."""
    for start in (0.05, [0.02, 0.05]):
        keys = {**START, "inner_lr": start}
        learner, phi = build(waves(), *MLP, "algorithm=maml", rates=rates(scale="relative"), **keys)
        before = step_sizes(learner, phi)
        for sizes in before.values():
            assert 0.02 <= sizes.item() <= 0.05 + 1e-12
        gradient, _ = MetaGradient(learner, None, compiled=False)(phi, waves().sample("train", 0, 4))
        OuterOptimizer(learner.algorithm.outer, phi, clip=None).step(gradient, 0.1)  # type: ignore[attr-defined]
        for name, sizes in step_sizes(learner, phi).items():
            change = (sizes - before[name]).abs()
            torch.testing.assert_close(change, torch.full_like(change, 0.005), rtol=1e-4, atol=0)


@pytest.mark.parametrize("scale", ["linear", "log", "relative"])
def test_bounds_bring_step_sizes_back(scale: str) -> None:
    learner, phi = build(waves(), *MLP, "algorithm=maml", rates=rates(scale=scale, least=0.01, most=0.1), **START)
    params = phi["algorithm"]
    for tensor, value in zip(params.values(), (0.001, 0.03, 7.0), strict=True):
        tensor.fill_({"linear": value, "log": log(value), "relative": value / 0.05}[scale])
    learner.algorithm.clamp(params)
    sizes = [values.item() for values in step_sizes(learner, phi).values()]
    assert sizes == pytest.approx([0.01, 0.01, 0.03, 0.03, 0.1, 0.1], rel=1e-6)


@pytest.mark.parametrize("scale", ["linear", "log", "relative"])
def test_a_run_keeps_to_the_bounds(scale: str, command: Callable[..., tuple[int, str, str]]) -> None:
    """With an outer step size that leaves them at once."""
    code, _, err = command(
        "dataset=sinusoid", "model=mlp", "model.hidden=[8,8]", "algorithm=maml_pp", "algorithm.inner_lr=0.01",
        "algorithm.inner_steps=2", "algorithm.rates.per=layer", f"algorithm.rates.scale={scale}",
        "algorithm.rates.least=0.009",
        "algorithm.rates.most=0.011", "algorithm.outer.lr=0.3", "engine.steps=4", "engine.meta_batch_size=3",
        "engine.val_every=4", "engine.val_episodes=2", "engine.test_episodes=2", "device.name=cpu",
        "device.threads=1", "device.compile=false", "tracking=scalars", "hydra.run.dir=run",
    )  # fmt: skip
    assert code == 0, err
    params = read(last_file(Path("run")), torch.device("cpu")).state.phi["algorithm"]
    kept = torch.cat([tensor.flatten() for name, tensor in params.items() if name.startswith("rate.")])
    sizes = {"linear": kept, "log": kept.exp(), "relative": 0.01 * kept}[scale]
    assert len(sizes) == 6
    assert bool(((sizes > 0.01 - 0.00101) & (sizes < 0.01 + 0.00101)).all())
    assert bool(((sizes - 0.01).abs() > 0.0009).any()), "or the bounds did nothing"


def test_fixed_step_sizes_do_not_change() -> None:
    fixed = rates(learned=False, scale="log", most=0.1, per="all", each_step=False)
    params = fixed.initial([0.3, 0.3], {"head.weight": torch.zeros(2)}, 2)
    fixed.clamp(params, 0.3)
    assert fixed.rate(params, "head.weight", 0, 0.3).item() == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"least": 0.2, "most": 0.1}, r"algorithm.rates.least=0.2: must be below algorithm.rates.most=0.1"),
        ({"scale": "log", "least": 0.0}, "step sizes are positive"),
        ({"least": 0.06}, r"algorithm.rates.least=0.06: step sizes start at algorithm.inner_lr=0.05"),
        ({"most": 0.04}, r"algorithm.rates.most=0.04: step sizes start at algorithm.inner_lr=0.05"),
    ],
)
def test_invalid_bounds_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        algorithm("maml", rates=rates(**keys), **START)


def test_its_keys_from_the_command_line() -> None:
    config = compose(["algorithm=maml_pp", "algorithm.rates.scale=log", "algorithm.rates.most=0.5"])
    made = check(plain(config, config.hydra.runtime.choices)).algorithm.rates
    assert (made.scale, made.most) == ("log", 0.5)
