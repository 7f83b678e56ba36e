"""The summary of ``mode=info`` matches the run, and nothing is written."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import state_of

from metarun.command.dispatch import dispatch
from metarun.command.exit_codes import run_command
from metarun.engine.compile import compilation
from metarun.engine.processes.single import SINGLE_PROCESS
from metarun.runs.files import LAST

Command = Callable[..., tuple[int, str, str]]

TINY = (
    "engine.steps=4", "engine.meta_batch_size=3", "engine.val_every=2", "engine.val_episodes=5",
    "engine.test_episodes=7", "device.name=cpu", "device.threads=1", "device.compile=false", "tracking=scalars",
)  # fmt: skip
WAVES = ("dataset=sinusoid", "model=mlp", "model.hidden=[8,8]", "algorithm.inner_lr=0.01", *TINY)
GENERATED = (
    "hypernet=film", "hypernet.hidden=[6]", "embedding=support", "embedding.size=4", "embedding.hidden=8",
    "algorithm=meta_sgd",
)  # fmt: skip


def summary(command: Command, *overrides: str) -> str:
    """The printed summary; checks that nothing was written."""
    before = content()
    code, out, err = command("mode=info", *overrides)
    assert (code, err) == (0, "")
    assert content() == before
    return out


def content() -> dict[str, float]:
    return {str(path): path.stat().st_mtime for path in Path().rglob("*")}


def ran(command: Command, *overrides: str) -> Path:
    code, _, err = command(*overrides, "hydra.run.dir=run")
    assert code == 0, err
    return Path("run")


def section(out: str, title: str) -> list[str]:
    """A title and the lines below it."""
    (found,) = (part for part in re.split(r"\n(?=\S)", out) if part.startswith(title))
    return [line for line in found.splitlines() if line]


def value(out: str, name: str) -> str:
    (line,) = (line for line in out.splitlines() if re.match(rf"  {name}   ", line))
    return line.removeprefix(f"  {name} ").strip()


def numbers(line: str) -> int:
    """The last whole number of a line."""
    return int(re.findall(r"(?<![\d\[,])\d[\d,]*\b(?!\])", line)[-1].replace(",", ""))


@pytest.mark.parametrize("overrides", [WAVES, (*WAVES, *GENERATED)], ids=["plain", "generated"])
def test_summary_matches_the_run(command: Command, overrides: tuple[str, ...]) -> None:
    out = summary(command, *overrides)
    folder = ran(command, *overrides)
    state = state_of(folder)
    phi = {group: sum(map(torch.numel, tensors.values())) for group, tensors in state["phi"].items()}
    total, *rest = section(out, "Meta-parameters")
    assert total == f"Meta-parameters φ: {sum(phi.values()):,} parameters"
    assert [numbers(line) for line in rest[: sum(map(bool, phi.values()))]] == [size for size in phi.values() if size]
    for group in ("embedding", "hypernet", "algorithm"):
        if phi[group]:
            begin = rest.index(f"  {group}") + 1
            layers = rest[begin : next((n for n in range(begin, len(rest)) if rest[n][2] != " "), len(rest))]
            assert sum(map(numbers, layers)) == phi[group]
    result = json.loads((folder / "result.json").read_text())
    assert f"{result['train']['task_chunk']} of 3 tasks of a meta-update" in value(out, "at once")
    assert value(out, "compiled").startswith("meta-step no, evaluation no")
    for name, figure in result["protocol"].items():
        if isinstance(figure, str | int) and name != "dataset":
            assert value(out, name) == (str(figure).lower() if isinstance(figure, bool) else str(figure))
    listed = {line.split()[0] for line in section(out, "Files in outputs/metarun/")[1:] if line}
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    files = {re.sub(r"tfevents.*", "tfevents.*", name) for name in files}
    # The projector's, which lie beside the events, and the lock of the run are not listed.
    beside = {name for name in files if name.startswith(("0", "projector", "."))}
    assert listed == files - beside


def test_shapes_of_tasks_and_layers(command: Command) -> None:
    out = summary(command, "dataset.ways=4", "dataset.shots=2", "dataset.queries=3", "model.channels=8", *TINY)
    tasks = [line.split() for line in section(out, "Tasks (dataset=glyphs)")]
    assert ["meta-train", "[8,1,28,28]", "[8]", "[12,1,28,28]", "[12]", "new", "tasks"] in tasks
    assert ["meta-val", "[8,1,28,28]", "[8]", "[12,1,28,28]", "[12]", "5,", "fixed"] in tasks
    title, *layers = section(out, "Task model (model=conv4)")
    assert [line.split() for line in layers[:2]] == [
        ["layers.0", "weight", "[8,1,3,3]", "72"],
        ["layers.1", "weight", "[8,8,3,3]", "576"],
    ]
    # Four layers of 3 x 3, gain and shift of each, and a head for the 2 x 2 that are left.
    size = 72 + 3 * 576 + 4 * 16 + 4 * (8 * 4 + 1)
    assert title.endswith(f"θ, {size:,} parameters")
    assert sum(map(numbers, layers)) == size


def test_generated_layers_are_marked(command: Command) -> None:
    out = summary(command, *WAVES, *GENERATED)
    layers = section(out, "Task model")[1:4]
    assert [line.split("   ")[-1] for line in layers] == ["generated"] * 3
    assert "e (embedding=support): size 4, " in out
    assert re.search(r"hypernet=film\): f, [\d,]+ parameters, generates 97 of θ⁰ from e", out)


def test_number_of_training_tasks(command: Command) -> None:
    assert "the first 2, repeated" in summary(command, *WAVES, "debug=overfit")
    assert "50 known tasks, repeated" in summary(command, *WAVES, "dataset.tasks=50")


def test_compiling_is_decided_and_not_done(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("compiled_if_equal", "evaluates_alike"):
        monkeypatch.setattr(compilation, name, lambda *_: pytest.fail("compiled"))
    out = summary(command, *WAVES, "device.compile=true")
    assert value(out, "compiled") == "meta-step yes, evaluation yes (device.compile=true)"


def test_little_memory_means_fewer_tasks_at_once(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    import metarun.engine.planning

    out = summary(command, *WAVES)
    assert "3 of 3 tasks" in value(out, "at once")
    assert re.match(r"meta-step \d+\.\d KiB, evaluation \d+\.\d [KM]iB: estimates", value(out, "memory"))
    monkeypatch.setattr(metarun.engine.planning, "available", lambda device: 1)
    out = summary(command, *WAVES)
    assert "1 of 3 tasks" in value(out, "at once")
    assert "1 episode of" in value(out, "at once")


def test_resumed_run_and_test(command: Command) -> None:
    ran(command, *WAVES)
    out = summary(command, "resume=run", "engine.steps=9")
    assert value(out, "meta-updates") == "9 of 3 tasks, 4 of them done"
    assert "Files in run\n" in out
    assert out.endswith("To run it: metarun resume=run engine.steps=9\n")
    out = summary(command, "checkpoint=run", "engine.test_episodes=11")
    assert re.match(r"none: meta-tests φ after [24] meta-updates", value(out, "outer loop"))
    assert value(out, "test_episodes") == "11"
    assert LAST not in out
    assert out.endswith("To run it: metarun mode=test checkpoint=run engine.test_episodes=11\n")


def test_baseline_has_no_outer_loop(command: Command) -> None:
    out = summary(command, *(text for text in WAVES if "inner_lr" not in text), "algorithm=scratch")
    assert value(out, "outer loop") == "none: nothing is meta-trained"
    assert "meta-step" not in out


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["-m", "mode=info", "seed=1,2"], "mode=info: describes a single run; leave out -m"),
        (["-m", "mode=train,info"], "mode=info: describes a single run; leave out -m"),
        (["mode=info", "hypernet=full"], "hypernet=full: needs a task embedding; add embedding=support"),
        (["mode=info", "resume=nowhere"], "resume=nowhere: no such folder"),
        (["mode=info", "checkpoint=nowhere"], "checkpoint=nowhere: no such file or folder"),
        (
            ["mode=info", "dataset=omniglot", "dataset.download=true"],
            "mode=info downloads nothing, and dataset=omniglot is not there yet: no Omniglot under 'data/omniglot'",
        ),
    ],
)
def test_errors_of_the_run_are_reported(command: Command, overrides: list[str], expected: str) -> None:
    code, out, err = command(*overrides)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"metarun: {expected}")
    assert content() == {}


def test_folder_with_a_run_is_refused(command: Command) -> None:
    ran(command, *WAVES)
    code, _, err = command("mode=info", *WAVES, "hydra.run.dir=run")
    assert code == 2
    assert "contains a run; choose another folder" in err


def test_several_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    alone: Any = SINGLE_PROCESS
    ending = run_command(lambda: dispatch(["mode=info"], alone), alone)
    assert ending is not None
    assert (ending.code, ending.line.partition(";")[0]) == (2, "mode=info: runs in one process")
