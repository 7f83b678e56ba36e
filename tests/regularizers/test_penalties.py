"""Terms of Ω against their formulas."""

from typing import Any

import pytest
import torch
from builders import MLP, build, looped, moved, settings, task_of, waves
from torch import Tensor

from metarun.engine.meta_gradient import MetaGradient

MADE = ("hypernet=full", "hypernet.hidden=[6]", "embedding=support", "embedding.size=4", "embedding.hidden=8")


def objectives(*penalties: str, **changes: Any) -> tuple[Tensor, Tensor, dict[str, Tensor], Any, Any, Any]:
    """The objective without and with penalties, the metrics with them, and learner, φ and task."""
    learner, phi = build(waves(), *MLP, *MADE, **changes)
    regular, _ = build(waves(), *MLP, *MADE, *penalties, **changes)
    phi = moved(phi)
    task = task_of(waves().sample("train", 0, 1), 0)
    plain, _ = learner.objective(phi, task, {})
    total, metrics = regular.objective(phi, task, {})
    return plain, total, metrics, learner, phi, task


def squared(tensors: Any) -> Tensor:
    return torch.stack([tensor.square().sum() for tensor in tensors]).sum()


def test_l2_of_the_starts() -> None:
    plain, total, metrics, learner, phi, task = objectives("regularizer.l2=0.3")
    wanted = squared(learner.start(phi, task, testing=False).values())
    torch.testing.assert_close(total, plain + 0.3 * wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(metrics["omega/l2"], wanted, rtol=1e-12, atol=0)


def test_l2_of_all_learned_tensors() -> None:
    plain, total, _, _, phi, _ = objectives("regularizer.l2=0.3", "regularizer.l2_of=phi")
    wanted = squared(tensor for group in phi.values() for tensor in group.values())
    torch.testing.assert_close(total, plain + 0.3 * wanted, rtol=1e-12, atol=0)


def test_the_embeddings_norm() -> None:
    plain, total, _, learner, phi, task = objectives("regularizer.embedding=0.7")
    wanted = learner.embed(phi, task, testing=False).square().sum()
    torch.testing.assert_close(total, plain + 0.7 * wanted, rtol=1e-12, atol=0)


def test_how_far_the_inner_loop_goes() -> None:
    plain, total, _, learner, phi, task = objectives("regularizer.proximal=2", inner_steps=2, inner_lr=0.03)
    start = learner.start(phi, task, testing=False)
    end = learner.algorithm.adapt(learner.model, phi["algorithm"], start, task.support, {}).theta
    wanted = squared(end[name] - start[name] for name in start)
    assert wanted > 0
    torch.testing.assert_close(total, plain + 2 * wanted, rtol=1e-12, atol=0)


@pytest.mark.parametrize("algorithm", ["maml", "reptile"])
def test_several_at_once_batched_equal_a_loop(algorithm: str) -> None:
    names = {"l2", "embedding"} | ({"proximal"} if algorithm == "maml" else set())
    terms = [f"regularizer.{name}=0.1" for name in sorted(names)]
    changes = {"inner_steps": 2, "inner_lr": 0.03, "minibatch": None}
    learner, phi = build(waves(), *MLP, *MADE, *terms, f"algorithm={algorithm}", **changes)
    batch, phi = waves().sample("train", 0, 3), moved(phi)
    gradient, metrics = MetaGradient(learner, 2, compiled=False)(phi, batch)
    torch.testing.assert_close((gradient, metrics), looped(learner, phi, batch), rtol=1e-9, atol=1e-9)
    assert {f"omega/{name}" for name in names} < metrics.keys()
    plain, _ = MetaGradient(build(waves(), *MLP, *MADE, f"algorithm={algorithm}", **changes)[0], 2, False)(phi, batch)
    assert not torch.allclose(gradient["theta"]["head.weight"], plain["theta"]["head.weight"])


def test_none_by_default() -> None:
    assert not settings().regularizer.used


@pytest.mark.parametrize(
    ("overrides", "group"),
    [
        (("embedding=fisher", "embedding.size=4", "hypernet=film", "hypernet.hidden=[6]"), "embedding"),
        (("algorithm=meta_sgd", "algorithm.rates.learned=false"), "algorithm"),
    ],
    ids=["probe", "step sizes"],
)
def test_what_settings_hold_is_not_pulled_at(overrides: tuple[str, ...], group: str) -> None:
    learner, phi = build(waves(), *MLP, *overrides, "regularizer.l2=1", "regularizer.l2_of=phi", inner_steps=1)
    batch, phi = waves().sample("train", 0, 2), moved(phi)
    gradient, _ = MetaGradient(learner, None, compiled=False)(phi, batch)
    held = [name for name in gradient[group] if name.startswith("probe.") or group == "algorithm"]
    assert held
    assert not any(gradient[group][name].any() for name in held)
