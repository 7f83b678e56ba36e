"""Checkpoints: whole or not there, and never a door for code."""

import io
import os
import pickle
import re
import tokenize
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from tokenize import COMMENT, STRING
from typing import Any

import pytest
import torch
from builders import CPU, MLP, build, moved, waves

import metarun
from metarun.core import tensor_file
from metarun.core.errors import UserError
from metarun.core.tensor_file import Damaged
from metarun.datasets.base import problem
from metarun.engine.meta_gradient import MetaGradient
from metarun.runs import checkpoint
from metarun.runs.checkpoint import Best, State
from metarun.training.outer_optimizer import OuterOptimizer

PROBLEM = problem(waves())


def trained(*overrides: str) -> State:
    """A state as after two meta-updates."""
    learner, phi = build(waves(), *MLP, *overrides)
    optimizer = OuterOptimizer(learner.algorithm.outer, phi, None)  # type: ignore[attr-defined]
    for step in range(2):
        gradient, _ = MetaGradient(learner, None, compiled=False)(phi, waves().sample("train", step, 2))
        optimizer.step(gradient, 0.01)
    best = Best(1, {"mse": {"mean": 0.1 + 0.2, "ci95": 1 / 3, "episodes": 8}})
    return State(
        step=2,
        phi=phi,
        optimizer=optimizer.state_dict(),
        best=best,
        decisions={"compile": False, "threads": 1},
        tasks=["one", "two"],
        kept=moved(phi),
        forgetting=[[0.5, 0.1]],
        seconds=1.5,
        measured_steps=2,
        measured_seconds=0.25,
    )


def test_save_and_load_round_trip(tmp_path: Path) -> None:
    state = trained("algorithm=meta_sgd")
    checkpoint.save(tmp_path / "a" / "last.safetensors", state, {"seed": 3}, PROBLEM)
    loaded = checkpoint.load(tmp_path / "a" / "last.safetensors", state.phi, CPU)
    torch.testing.assert_close(loaded.phi, state.phi, rtol=0, atol=0)
    torch.testing.assert_close(loaded.optimizer["state"], state.optimizer["state"], rtol=0, atol=0)
    torch.testing.assert_close(loaded.kept, state.kept, rtol=0, atol=0)
    plain = ("step", "tasks", "best", "decisions", "forgetting", "seconds", "measured_steps", "measured_seconds")
    assert {name: getattr(loaded, name) for name in plain} == {name: getattr(state, name) for name in plain}
    assert checkpoint.read(tmp_path / "a" / "last.safetensors", CPU).config == {"seed": 3}
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["last.safetensors"]


@pytest.mark.parametrize("where", ["write", "fsync"])
def test_a_crash_while_saving_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    state, path = trained(), tmp_path / "last.safetensors"
    checkpoint.save(path, state, {}, PROBLEM)
    before = path.read_bytes()

    def crash(*arguments: Any) -> None:
        raise OSError("disk full")

    class Full(io.FileIO):
        """A file on a disk that has room for half of what is written."""

        def write(self, data: Any) -> int:
            super().write(data[: len(data) // 2])
            raise OSError("disk full")

    if where == "fsync":
        monkeypatch.setattr(os, "fsync", crash)
    else:
        monkeypatch.setattr(os, "fdopen", lambda handle, mode: Full(handle, mode))
    state.step = 3
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, state, {}, PROBLEM)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["last.safetensors"]


class Harmful:
    """Runs code when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_a_checkpoint_of_an_older_version_is_not_unpickled(tmp_path: Path) -> None:
    like, trace = trained().phi, tmp_path / "ran"
    torch.save({"format": 3, "state": Harmful(trace)}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Harmful(trace), protocol=2))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(UserError) as caught:
            checkpoint.load(tmp_path / name, like, CPU)
        said = "a checkpoint of an older version of metarun, which this version does not read"
        assert str(caught.value) == f"{tmp_path / name}: {said}"
    assert not trace.exists()
    torch.load(tmp_path / "a.pt", weights_only=False)
    assert trace.exists()  # it would have


def test_nothing_in_the_package_unpickles() -> None:
    """Outside of what PyTorch's processes and Hydra's launchers send each other.

    One file reads pickles of others, without any class or function; tests/datasets/score_tables/test_plain_pickle.py.
    """
    package = Path(metarun.__file__).parent
    words = re.compile(r"torch\.load|\bpickle\b|np\.load\((?!.*allow_pickle=False)")
    found = [file.relative_to(package) for file in package.rglob("*.py") if words.search(code_of(file))]
    assert found == [Path("datasets/score_tables/plain_pickle.py")]


def code_of(file: Path) -> str:
    """A module's code without comments and texts."""
    with file.open("rb") as lines:
        kept = [token for token in tokenize.tokenize(lines.readline) if token.type not in (STRING, COMMENT)]
    return "".join(token.string for token in kept)


def test_invalid_files_are_refused(tmp_path: Path) -> None:
    state, path = trained(), tmp_path / "last.safetensors"
    checkpoint.save(path, state, {}, PROBLEM)
    whole = path.read_bytes()
    for content in (b"", b"garbage", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"a damaged one|a damaged checkpoint"):
            checkpoint.load(path, state.phi, CPU)
    for value in ({}, {"format": 3}, {"state": {}}, {"format": "5"}):
        tensor_file.write(path, value)
        with pytest.raises(UserError, match=r"not a checkpoint of this version of metarun \(format 8\)"):
            checkpoint.load(path, state.phi, CPU)
    whole_content = {"config": {}, "problem": {}}
    for broken in ({}, {"best": None}, {"best": {"step": 1}}, None):
        tensor_file.write(path, {"format": checkpoint.FORMAT, "state": broken, **whole_content})
        with pytest.raises(Damaged, match="a broken checkpoint"):
            checkpoint.load(path, state.phi, CPU)


def test_the_checkpoint_of_another_learner_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
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
    checkpoint.save(tmp_path / "last.safetensors", state, {}, PROBLEM)
    like = deepcopy(state.phi)
    like["theta"] = {name: tensor.float() for name, tensor in like["theta"].items()}
    loaded = checkpoint.load(tmp_path / "last.safetensors", like, CPU)
    assert {tensor.dtype for tensor in loaded.phi["theta"].values()} == {torch.float32}


LONG = {"step": 1, "metrics": {"mse": {"mean": "low"}}}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("step", "3", "state.step: int is expected"), ("step", -1, "state.step: -1 is negative"),
        ("step", True, "state.step: int is expected"), ("step", 3.0, "state.step: int is expected"),
        ("phi", [], "state.phi: a dict is expected"), ("phi", {"theta": {"w": 1.0}}, "state.phi.theta.w: Tensor is"),
        ("phi", {"theta": {"w": torch.arange(3)}}, "floating-point tensors are expected"),
        ("phi", {"theta": {}}, "the groups theta, embedding, hypernet, "),
        ("optimizer", None, "state.optimizer: a dict is expected"), ("best", LONG, "state.best.metrics.mse.mean: int"),
        ("best", {"step": 1}, "state.best: 'metrics' is missing"), ("best", 1, "state.best: a dict is expected"),
        ("decisions", {}, "'threads'"), ("decisions", {"threads": 0}, "state.decisions.threads: 0 is not a decision"),
        ("decisions", {"threads": 1, "compile": 1}, "state.decisions.compile: 1 is not a decision"),
        ("decisions", {"threads": 1, "task_chunk": True}, "state.decisions.task_chunk: True is not a decision"),
        ("tasks", [1], "state.tasks[0]: str is expected"), ("tasks", None, "state.tasks: a list is expected"),
        ("kept", {"theta": {}, "embedding": {}}, "the groups theta, embedding, hypernet, "),
        ("forgetting", [[0.1], [0.1, 0.2]], "state.forgetting: rows of different"),
        ("forgetting", [["a"]], "state.forgetting[0][0]: float is expected"), ("forgetting", 3, "a list is expected"),
        ("seconds", float("nan"), "state.seconds: nan is not a time"), ("seconds", "1", "state.seconds: float is exp"),
        ("measured_steps", -2, "state.measured_steps: -2 is negative"),
        ("measured_seconds", 0.0, "state.measured_seconds: 0 for a number of steps"), ("more", 1, "'more' is unknown"),
    ],
    ids=str,
)  # fmt: skip
def test_invalid_state_is_refused(tmp_path: Path, name: str, value: Any, said: str) -> None:
    state, path = trained(), tmp_path / "last.safetensors"
    checkpoint.save(path, state, {}, PROBLEM)
    content = tensor_file.read(path, CPU)
    content["state"][name] = value
    tensor_file.write(path, content)
    with pytest.raises(Damaged) as caught:
        checkpoint.load(path, state.phi, CPU)
    assert str(caught.value).startswith(f"{path}: a broken checkpoint (")
    assert said in str(caught.value)


def test_leaves_of_other_types_are_refused_or_converted(tmp_path: Path) -> None:
    """None of them may end in a traceback."""
    state, path = trained(), tmp_path / "last.safetensors"
    checkpoint.save(path, state, {}, PROBLEM)
    content = tensor_file.read(path, CPU)
    refused = 0
    for place in places(content):
        for value in (None, -1, "x", [], {}, torch.zeros(2), float("inf")):
            tensor_file.write(path, replaced(content, place, value))
            with suppress(UserError):
                checkpoint.load(path, state.phi, CPU)
                refused -= 1
            refused += 1
    assert refused > 200


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all entries of nested dicts, but for what is checked where it is used."""
    if path in (("config",), ("state", "optimizer")) or not isinstance(value, dict):
        return [path]
    return [path] * bool(path) + [found for key, item in value.items() for found in places(item, (*path, key))]


def replaced(content: dict[Any, Any], path: tuple[Any, ...], value: Any) -> dict[Any, Any]:
    """A copy with another value at ``path``."""
    first, *rest = path
    return {**content, first: replaced(content[first], tuple(rest), value) if rest else value}


def test_memory_layout_is_that_of_the_learner(tmp_path: Path) -> None:
    """Resumed or not, the same kernels see the same strides."""
    state, path = trained(), tmp_path / "last.safetensors"
    like = deepcopy(state.phi)
    like["theta"]["layers.1.weight"] = like["theta"]["layers.1.weight"].T.contiguous().T
    checkpoint.save(path, state, {}, PROBLEM)
    loaded = checkpoint.load(path, like, CPU)
    found, wanted, before = (phi["theta"]["layers.1.weight"] for phi in (loaded.phi, like, state.phi))
    assert found.stride() == wanted.stride() != before.stride()
    assert torch.equal(found, before)


def break_buffer(state: dict[str, Any]) -> None:
    state["state"][0]["exp_avg"] = torch.zeros(1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (break_buffer, "exp_avg has another shape than its parameter"),
        (lambda state: state["state"][1].pop("step"), "exp_avg, exp_avg_sq, step are expected"),
        (lambda state: state["state"].update({99: state["state"][0]}), "another shape than its parameter"),
        (lambda state: state.pop("state"), "state"),
        (lambda state: state["state"].update({0: None}), "keys"),
    ],
)
def test_the_state_of_another_optimizer_is_refused(change: Callable[[Any], Any], said: str) -> None:
    """PyTorch would take it, and fail or broadcast at the next step."""
    state = trained()
    learner, phi = build(waves(), *MLP)
    optimizer = OuterOptimizer(learner.algorithm.outer, phi, None)  # type: ignore[attr-defined]
    optimizer.load_state_dict(state.optimizer)
    change(state.optimizer)
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError), match=said):
        optimizer.load_state_dict(state.optimizer)


def test_damaged_file_is_replaced_by_the_next(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = trained()
    last, best = tmp_path / "last.safetensors", tmp_path / "best.safetensors"
    for file in (last, best):
        checkpoint.save(file, state, {}, PROBLEM)
    assert checkpoint.load_first([last, best], state.phi, CPU).step == 2
    assert not caplog.messages
    last.write_bytes(last.read_bytes()[:-1] + b"?")
    assert checkpoint.load_first([last, best], state.phi, CPU).step == 2
    why = "a damaged checkpoint: its checksum does not match its contents"
    assert caplog.messages == [f"{last}: {why}; using {best}, of step 2, instead"]
    best.write_bytes(b"")
    with pytest.raises(Damaged, match=rf"{last}: {why}; {best}: not a checkpoint of metarun, or a damaged one"):
        checkpoint.load_first([last, best], state.phi, CPU)
    # What is whole and of another learner is no reason to take an older state.
    checkpoint.save(last, trained("algorithm=meta_sgd"), {}, PROBLEM)
    checkpoint.save(best, state, {}, PROBLEM)
    with pytest.raises(UserError, match="saved with other parts"):
        checkpoint.load_first([last, best], state.phi, CPU)


def test_non_finite_parameters_are_refused(tmp_path: Path) -> None:
    state = trained()
    state.phi["theta"]["head.weight"][0, 0] = float("nan")
    checkpoint.save(tmp_path / "last.safetensors", state, {}, PROBLEM)
    with pytest.raises(UserError, match="not finite"):
        checkpoint.load(tmp_path / "last.safetensors", state.phi, CPU)
