"""Checkpoints: whole or not there, and never a door for code."""

import os
import pickle
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import CPU, MLP, build, moved, waves

from metarun.datasets.base import problem
from metarun.engine import checkpoint
from metarun.engine.checkpoint import Best, State
from metarun.engine.meta_gradient import MetaGradient
from metarun.engine.outer_optimiser import OuterOptimiser
from metarun.errors import UserError

PROBLEM = problem(waves())


def trained(*overrides: str) -> State:
    """A state as after two meta-updates."""
    learner, phi = build(waves(), *MLP, *overrides)
    optimiser = OuterOptimiser(learner.algorithm.outer, phi, None)  # type: ignore[attr-defined]
    for step in range(2):
        gradient, _ = MetaGradient(learner, None, compiled=False)(phi, waves().sample("train", step, 2))
        optimiser.step(gradient, 0.01)
    best = Best(1, {"mse": {"mean": 0.1 + 0.2, "ci95": 1 / 3, "episodes": 8}})
    return State(
        step=2,
        phi=phi,
        optimiser=optimiser.state_dict(),
        best=best,
        decisions={"compile": False, "threads": 1},
        tasks=["one", "two"],
        kept=moved(phi),
        forgetting=[[0.5, 0.1]],
        seconds=1.5,
        measured_steps=2,
        measured_seconds=0.25,
    )


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    state = trained("algorithm=meta_sgd")
    checkpoint.save(tmp_path / "a" / "last.pt", state, {"seed": 3}, PROBLEM)
    loaded = checkpoint.load(tmp_path / "a" / "last.pt", state.phi, CPU)
    torch.testing.assert_close(loaded.phi, state.phi, rtol=0, atol=0)
    torch.testing.assert_close(loaded.optimiser["state"], state.optimiser["state"], rtol=0, atol=0)
    torch.testing.assert_close(loaded.kept, state.kept, rtol=0, atol=0)
    plain = ("step", "tasks", "best", "decisions", "forgetting", "seconds", "measured_steps", "measured_seconds")
    assert {name: getattr(loaded, name) for name in plain} == {name: getattr(state, name) for name in plain}
    assert torch.load(tmp_path / "a" / "last.pt", weights_only=True)["config"] == {"seed": 3}
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["last.pt"]


@pytest.mark.parametrize("where", ["torch.save", "os.fsync"])
def test_a_crash_while_saving_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    state, path = trained(), tmp_path / "last.pt"
    checkpoint.save(path, state, {}, PROBLEM)
    before = path.read_bytes()

    def crash(*arguments: Any) -> None:
        for each in arguments:
            if hasattr(each, "write"):
                each.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(*({"torch.save": (torch, "save"), "os.fsync": (os, "fsync")}[where]), crash)
    state.step = 3
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, state, {}, PROBLEM)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["last.pt"]


class Harmful:
    """Runs code when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_a_file_that_holds_code_is_refused_and_not_run(tmp_path: Path) -> None:
    like, trace = trained().phi, tmp_path / "ran"
    torch.save({"format": checkpoint.FORMAT, "state": Harmful(trace)}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Harmful(trace), protocol=2))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(UserError, match=rf"{name}: not a checkpoint of metarun, or a broken one"):
            checkpoint.load(tmp_path / name, like, CPU)
    assert not trace.exists()
    torch.load(tmp_path / "a.pt", weights_only=False)
    assert trace.exists()  # it would have


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    state, path = trained(), tmp_path / "last.pt"
    checkpoint.save(path, state, {}, PROBLEM)
    whole = path.read_bytes()
    for content in (b"", b"garbage", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="not a checkpoint of metarun, or a broken one"):
            checkpoint.load(path, state.phi, CPU)
    for value in ([1], {}, {"format": 0}, {"state": {}}):
        torch.save(value, path)
        with pytest.raises(UserError, match=r"not a checkpoint of this version of metarun \(format 3\)"):
            checkpoint.load(path, state.phi, CPU)
    for broken in ({}, {"best": None}, {"best": {"step": 1}}, None):
        torch.save({"format": checkpoint.FORMAT, "state": broken}, path)
        with pytest.raises(UserError, match="a broken checkpoint"):
            checkpoint.load(path, state.phi, CPU)


def test_the_checkpoint_of_another_learner_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, trained(), {}, PROBLEM)
    wider = build(waves(), "model=mlp", "model.hidden=[8,9]")[1]
    with pytest.raises(UserError, match=r"'layers.1.weight' of theta has shape \(8, 8\) there, and .* make \(9, 8\)"):
        checkpoint.load(path, wider, CPU)
    deeper = build(waves(), "model=mlp", "model.hidden=[8,8,8]")[1]
    with pytest.raises(UserError, match=r"saved with other parts .* theta differs in 'layers.2"):
        checkpoint.load(path, deeper, CPU)
    meta_sgd = build(waves(), *MLP, "algorithm=meta_sgd")[1]
    with pytest.raises(UserError, match=r"saved with other parts .* algorithm differs in 'rate.head.bias'"):
        checkpoint.load(path, meta_sgd, CPU)


def test_tensors_take_the_precision_asked_for(tmp_path: Path) -> None:
    state = trained()
    checkpoint.save(tmp_path / "last.pt", state, {}, PROBLEM)
    like = deepcopy(state.phi)
    like["theta"] = {name: tensor.float() for name, tensor in like["theta"].items()}
    loaded = checkpoint.load(tmp_path / "last.pt", like, CPU)
    assert {tensor.dtype for tensor in loaded.phi["theta"].values()} == {torch.float32}


@pytest.mark.parametrize(
    "changes",
    [
        {"step": "3"}, {"step": -1}, {"decisions": {}}, {"forgetting": [[0.1], [0.1, 0.2]]}, {"forgetting": [["a"]]},
        {"forgetting": 3}, {"tasks": [1]}, {"kept": {"theta": {}, "embedding": {}}},
    ],
    ids=str,
)  # fmt: skip
def test_a_state_that_no_run_saves_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    state = trained()
    like = state.phi
    for name, value in changes.items():
        setattr(state, name, value)
    checkpoint.save(tmp_path / "last.pt", state, {}, PROBLEM)
    with pytest.raises(UserError, match=r"a broken checkpoint|saved with other parts"):
        checkpoint.load(tmp_path / "last.pt", like, CPU)


def test_parameters_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = trained()
    state.phi["theta"]["head.weight"][0, 0] = float("nan")
    checkpoint.save(tmp_path / "last.pt", state, {}, PROBLEM)
    with pytest.raises(UserError, match="not finite"):
        checkpoint.load(tmp_path / "last.pt", state.phi, CPU)
