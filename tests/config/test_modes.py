"""The registry of modes: what each goes with, and a mode that is added to it."""

import re
import sys
import types
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from metarun.command.completion import candidates
from metarun.config.modes import MODES, Mode

Command = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_each_mode_has_one_file(mode: Mode) -> None:
    module = import_module(mode.module)
    assert mode.module == f"metarun.modes.{mode.name}"
    assert callable(module.run)


def test_no_file_of_a_mode_is_left_out() -> None:
    folder = Path(str(import_module("metarun.modes").__file__)).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "running"}
    assert files == set(MODES)


def test_each_mode_is_in_the_help(command: Command) -> None:
    lines = command("--help")[1].splitlines()
    begin, end = lines.index("Modes (mode=NAME)"), lines.index("Groups and their options (group=option)")
    told = [line.split(maxsplit=1) for line in lines[begin:end] if line.startswith("  ")]
    assert told == [[mode.name, mode.about] for mode in MODES.values()]


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A mode ``count``, added for the test as a file and a line of the registry; returns what it was called with."""
    calls: list[Any] = []
    module = types.ModuleType("count_mode")

    def run(call: Any) -> None:
        calls.append(call)
        print(f"{call.settings.engine.steps * call.settings.engine.meta_batch_size} tasks")

    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "count_mode", module)
    mode = Mode("count", "print how many tasks a run trains on", "count_mode", sweeps=False, shared=False, writes=False)
    monkeypatch.setitem(MODES, "count", mode)
    return calls


def test_an_added_mode_runs(command: Command, count: list[Any]) -> None:
    code, out, err = command("mode=count", "engine.steps=20", "engine.meta_batch_size=4")
    assert (code, out, err) == (0, "80 tasks\n", "")
    (call,) = count
    assert list(call.typed) == ["mode=count", "engine.steps=20", "engine.meta_batch_size=4"]
    assert list(Path().iterdir()) == []


def test_an_added_mode_is_known_everywhere(command: Command, count: list[Any]) -> None:
    assert re.search(r"\n  count +print how many tasks a run trains on\n", command("--help")[1])
    assert candidates("metarun mode=cou") == ["mode=count"]
    assert command("mode=cuont")[2] == (
        "metarun: mode=cuont: one of train, test, optimize, collect, info, count is expected; did you mean 'count'?\n"
    )


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("-m", "mode=train,count"), "mode=count: describes a single run; leave out -m"),
        (("-m", "mode=count", "seed=0,1"), "mode=count: describes a single run; leave out -m"),
        (("mode=count", "checkpoint=x"), "checkpoint=x: no such file or folder"),
    ],
)
def test_added_mode_refuses_unsupported_flags(
    command: Command, count: list[Any], overrides: tuple[str, ...], expected: str
) -> None:
    assert command(*overrides) == (2, "", f"metarun: {expected}\n")
    assert count == []


def test_a_mode_that_writes_has_a_run_folder(
    command: Command, count: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODES, "count", Mode("count", "count tasks", "count_mode"))
    assert command("mode=count", "hydra.run.dir=run")[0] == 0
    assert count[0].folder == Path("run").absolute()
    assert Path("run/metarun.log").is_file()
    command("-m", "mode=count", "seed=0,1", "hydra.sweep.dir=sweep")
    assert len(count) == 3
    assert count[1].swept == ("seed",)
