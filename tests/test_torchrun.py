"""Whole runs in several processes: the numbers of one, one folder, one voice, and one end."""

import csv
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import state_of
from process_groups import PATIENCE, Launched, launch, launched, metarun

from metarun.runs.files import BEST, LAST

Command = Callable[..., tuple[int, str, str]]

ENGINE = (
    "engine.steps=6", "engine.meta_batch_size=5", "engine.val_every=2", "engine.val_episodes=40",
    "engine.test_episodes=70", "engine.checkpoint_every=3", "engine.log_every=2",
    "device.name=cpu", "device.threads=1", "device.compile=false", "device.precision=float64", "tracking=scalars",
)  # fmt: skip
WAVES = ("dataset=sinusoid", "model=mlp", "model.hidden=[8,8]", "algorithm.inner_lr=0.01", *ENGINE)
ENDLESS = (*WAVES, "engine.steps=1000000", "engine.val_every=1000000", "engine.checkpoint_every=1000000")
# Adam would make steps of the rounding in gradients that are zero, those of the rows of tasks to come.
SEQUENCE = (
    "experiment=forgetting_polynomials", "hypernet.hidden=[6]", "model.hidden=[6]", "embedding.fit_steps=3", *ENGINE,
    "engine.steps=9", "engine.val_every=3", "engine.task_chunk=2", "engine.val_episodes=3", "regularizer.output=0.1",
    "algorithm.outer.optimizer=sgd", "algorithm.outer.lr=0.01",
)  # fmt: skip
GLYPHS = (
    "dataset=glyphs", "dataset.queries=2", "model.channels=4", "model.layers=3", "algorithm=maml_pp",
    "hypernet=film", "embedding=support", "hypernet.hidden=[4]", "embedding.size=4", "embedding.hidden=8",
    "algorithm.outer.tasks.select=loss", "algorithm.outer.tasks.pool=2", *ENGINE, "engine.steps=2",
    "engine.val_episodes=3", "engine.test_episodes=5",
)  # fmt: skip

GLOBAL = (
    "dataset=glyphs", "dataset.queries=2", "model.channels=4", "model.layers=3", "model.normalization=global",
    "algorithm=protonet", *ENGINE, "engine.val_episodes=3", "engine.test_episodes=5", "engine.steps=3",
)  # fmt: skip


def content(folder: Path, file: str = LAST) -> dict[str, Any]:
    """A checkpoint's state without what time or the number of processes decides."""
    state = state_of(folder, file)
    timed = ("seconds", "measured_steps", "measured_seconds", "decisions")
    return {name: value for name, value in state.items() if name not in timed}


def decisions(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = state_of(folder)["decisions"]
    return found


def status(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return found


def numbers(folder: Path) -> dict[str, Any]:
    """``result.json`` without what time or the number of processes decides."""
    result = json.loads((folder / "result.json").read_text())
    return {**result, "train": {k: v for k, v in result["train"].items() if k in ("steps", "tested_step")}}


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """A nested value by its path, numbers and texts."""
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        return {name: value}
    return {path: leaf for key, item in items for path, leaf in flat(item, f"{name}/{key}").items()}


def assert_same(one: Path, other: Path) -> None:
    """The two runs have the same states and the same result."""
    for file in (LAST, BEST):
        mine, theirs = flat(content(one, file)), flat(content(other, file))
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            if isinstance(value, torch.Tensor):
                torch.testing.assert_close(theirs[name], value, rtol=1e-11, atol=1e-12, msg=name)
        assert_near(mine, theirs)
    assert_near(flat(numbers(one)), flat(numbers(other)))
    ours, yours = (list(csv.DictReader((folder / "episodes.csv").open(encoding="utf-8"))) for folder in (one, other))
    for row, another in zip(ours, yours, strict=True):
        assert_near(*({name: number(cell) for name, cell in each.items()} for each in (row, another)))


def number(cell: str) -> float | str:
    """What a cell of a table holds: a number, or the name of a task or of classes."""
    try:
        return float(cell)
    except ValueError:
        return cell


def assert_near(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """The same numbers but for rounding, and the same texts."""
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        if isinstance(value, float):
            assert theirs[name] == pytest.approx(value, rel=1e-11, abs=1e-12, nan_ok=True), name
        elif not isinstance(value, torch.Tensor):
            assert theirs[name] == value, name


def files(folder: Path) -> set[str]:
    """Names of the run's files, an event file being one like another."""
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    events = [name for name in found if name.startswith("events.out.tfevents")]
    return set(found) - set(events) | {f"{len(events)} of events"}


def alone(command: Command, folder: str, *arguments: str) -> Path:
    code, _, err = command(*arguments, f"hydra.run.dir={folder}")
    assert code == 0, err
    return Path(folder)


def resumed(command: Command, folder: str) -> None:
    code, _, err = command(f"resume={folder}")
    assert code == 0, err


def watched(*arguments: str) -> int:
    """The command, which in processes beside the first may write nothing but caches."""

    def watch(event: str, given: tuple[Any, ...]) -> None:
        if event == "open" and given[2] & (os.O_WRONLY | os.O_RDWR) and Path.cwd() in Path(str(given[0])).parents:
            raise AssertionError(f"writes {given[0]}")

    if os.environ["RANK"] != "0":
        sys.addaudithook(watch)
    return metarun(*arguments)


def together(count: int, output: Path, *arguments: str) -> Launched:
    return launched(count, output, metarun, *arguments)


SLOW = pytest.mark.slow
"""One more of a kind whose other cases are tested always."""


@pytest.mark.parametrize(
    ("overrides", "count"),
    [
        pytest.param(WAVES, 2, id="waves-2", marks=SLOW),
        pytest.param(WAVES, 3, id="waves-3"),
        pytest.param(SEQUENCE, 2, id="sequence", marks=SLOW),
        pytest.param(GLYPHS, 2, id="glyphs"),
        pytest.param(GLOBAL, 3, id="statistics over all tasks"),
    ],
)
def test_a_run_in_several_is_the_run_of_one(
    command: Command, tmp_path: Path, overrides: tuple[str, ...], count: int
) -> None:
    one = alone(command, "one", *overrides)
    told = launched(count, tmp_path / "told", watched, *overrides, "hydra.run.dir=several").told("out")
    assert_same(one, Path("several"))
    assert files(Path("several")) == files(one)
    assert {path.name for path in Path().iterdir()} == {"one", "several"}
    assert (Path("several") / "config.yaml").read_text() == (one / "config.yaml").read_text()
    log = (Path("several") / "metarun.log").read_text()
    assert [re.split(" (?:INFO|WARNING) ", line, maxsplit=1)[-1] for line in log.splitlines()] == told.splitlines()
    assert told.count("meta-test   ") == 1
    assert f"{count} processes, each on cpu" in told
    assert decisions(Path("several"))["processes"] == count
    assert status(Path("several"))["status"] == "done"


def test_the_folder_named_by_the_time_is_one(command: Command, tmp_path: Path) -> None:
    together(2, tmp_path / "told", *WAVES, "engine.steps=1")
    assert len(list(Path("outputs/metarun").iterdir())) == 1


def stop_early(at: int, *arguments: str) -> int:
    """The command, interrupted when the first process has logged meta-update ``at``."""
    from metarun.training.progress import TrainingLog

    step = TrainingLog.step

    def stop(self: TrainingLog, number: int, *rest: Any) -> None:
        step(self, number, *rest)
        if number == at:
            signal.raise_signal(signal.SIGINT)

    TrainingLog.step = stop  # type: ignore[method-assign]
    return metarun(*arguments)


@pytest.mark.parametrize(
    "overrides", [pytest.param(WAVES, id="waves"), pytest.param(SEQUENCE, id="sequence", marks=SLOW)]
)
def test_checkpoint_is_resumed_with_any_number_of_processes(
    command: Command, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    whole = alone(command, "whole", *overrides)
    (first := launch(2, tmp_path / "two", stop_early, 1, *overrides, "hydra.run.dir=down")).ended()
    assert status(Path("down"))["status"] == "interrupted", first.told("err")
    assert content(Path("down"))["step"] == 2
    resumed(command, "down")
    assert_same(whole, Path("down"))
    assert decisions(Path("down"))["processes"] == 1

    launch(1, tmp_path / "one", stop_early, 2, *overrides, "hydra.run.dir=up").ended()
    before = content(Path("up"))["step"]
    assert before < content(whole)["step"]
    together(3, tmp_path / "three", "resume=up")
    assert_same(whole, Path("up"))
    assert decisions(Path("up"))["processes"] == 3


def test_threads_are_decided_again_for_another_number_of_processes(command: Command, tmp_path: Path) -> None:
    divided = [override for override in WAVES if not override.startswith("device.threads")]
    together(2, tmp_path / "told", *divided, "engine.steps=1", "hydra.run.dir=run")
    cores = len(os.sched_getaffinity(0))
    assert decisions(Path("run"))["threads"] == max(1, cores // 2)
    assert f", {max(1, cores // 2)} thread" in (Path("run") / "metarun.log").read_text()


def test_testing_in_several_gives_the_result_of_one(command: Command, tmp_path: Path) -> None:
    alone(command, "run", *WAVES, "test_dataset=[harmonics]")
    one = alone(command, "one", "mode=test", "checkpoint=run")
    assert "harmonics" in numbers(one)["test_datasets"]
    together(2, tmp_path / "told", "mode=test", "checkpoint=run", "hydra.run.dir=two", "engine.meta_batch_size=1")
    assert_near(flat(numbers(one)), flat(numbers(Path("two"))))
    assert files(Path("two")) == files(one)


def begun(run: Launched, folder: str) -> None:
    """Wait until a run trains."""
    until = time.monotonic() + PATIENCE
    while not Path(folder, LAST).exists():
        assert time.monotonic() < until, run.told("err")
        time.sleep(0.02)
    time.sleep(0.2)


@pytest.mark.parametrize(
    ("asked", "number"),
    [
        pytest.param((0,), signal.SIGTERM, id="first", marks=SLOW),
        pytest.param((1,), signal.SIGTERM, id="second"),
        pytest.param((0, 1), signal.SIGINT, id="both"),
    ],
)
def test_asked_to_stop_all_stop_at_one_step(
    command: Command, tmp_path: Path, asked: tuple[int, ...], number: signal.Signals
) -> None:
    run = launch(2, tmp_path / "told", metarun, *ENDLESS, "hydra.run.dir=run")
    begun(run, "run")
    for rank in asked:
        os.kill(run.processes[rank].pid or 0, number)
    assert run.ended() == [130, 130]
    step = content(Path("run"))["step"]
    again = f"torchrun --nproc-per-node=2 -m metarun resume={Path('run').absolute()}"
    line = f"stopped at step {step:,} of 1,000,000; resume with: {again}"
    assert run.lines() == [f"metarun: {line}"]
    assert status(Path("run")) | {"time": None} == {"status": "interrupted", "time": None, "reason": line}


def stop_in_test(*arguments: str) -> int:
    """The command; the second process is interrupted when it has done its first chunk of the meta-test."""
    from metarun.training.progress import Silence

    def stop(self: Silence, *error: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    Silence.__exit__ = stop  # type: ignore[method-assign]
    return metarun(*arguments)


def test_stopping_in_the_meta_test_stops_all(command: Command, tmp_path: Path) -> None:
    run = launch(2, tmp_path / "told", stop_in_test, *WAVES, "hydra.run.dir=run")
    assert run.ended() == [130, 130]
    again = f"torchrun --nproc-per-node=2 -m metarun resume={Path('run').absolute()}"
    assert run.lines() == [f"metarun: stopped during the meta-test; test again with: {again}"]
    assert status(Path("run"))["status"] == "interrupted"
    whole = alone(command, "whole", *WAVES)
    together(2, tmp_path / "again", "resume=run")
    assert_same(whole, Path("run"))


@pytest.mark.parametrize("killed", [0, 1])
def test_one_killed_ends_all(command: Command, tmp_path: Path, killed: int) -> None:
    run = launch(3, tmp_path / "told", metarun, *ENDLESS, "hydra.run.dir=run")
    begun(run, "run")
    run.processes[killed].kill()
    assert run.ended() == [-signal.SIGKILL if rank == killed else 1 for rank in range(3)]
    again = f"torchrun --nproc-per-node=3 -m metarun resume={Path('run').absolute()}"
    line = (
        f"another process of this run exited without an error message (killed, or out of memory?); resume with: {again}"
    )
    assert run.lines() == [f"metarun: {line}"]
    if killed:
        assert (status(Path("run"))["status"], status(Path("run"))["reason"]) == ("failed", line)
        assert line in (Path("run") / "metarun.log").read_text()
    together(2, tmp_path / "again", "resume=run", "engine.steps=2")


def fail_in(ranks: tuple[int, ...], what: str, *arguments: str) -> int:
    """The command; some processes find a mistake in loading data, or meet a bug at the third meta-update."""
    from metarun.core.errors import UserError
    from metarun.datasets.sinusoid import SinusoidConfig
    from metarun.engine.meta_gradient import MetaGradient

    calls = [0]

    def failing(original: Callable[..., Any], at: int, error: Exception) -> Callable[..., Any]:
        @functools.wraps(original)  # `load` must still say that it takes an episode seed
        def call(*given: Any, **named: Any) -> Any:
            calls[0] += 1
            if calls[0] == at and int(os.environ["RANK"]) in ranks:
                raise error
            return original(*given, **named)

        return call

    if what == "mistake":
        SinusoidConfig.load = failing(SinusoidConfig.load, 1, UserError("no data here"))  # type: ignore[method-assign]
    else:
        bug = ValueError("two\nlines")
        MetaGradient.__call__ = failing(MetaGradient.__call__, 3, bug)  # type: ignore[method-assign]
    return metarun(*arguments)


@pytest.mark.parametrize("rank", [pytest.param(0, marks=SLOW), 1])
def test_error_of_one_process_is_printed_once(command: Command, tmp_path: Path, rank: int) -> None:
    run = launch(2, tmp_path / "told", fail_in, (rank,), "mistake", *WAVES, "hydra.run.dir=run")
    assert run.ended() == [2, 2]
    assert run.lines() == ["metarun: no data here"]
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("ranks", [pytest.param((0,), marks=SLOW), (1,), (0, 1)], ids=["first", "second", "both"])
def test_a_failure_ends_all_with_its_reason(command: Command, tmp_path: Path, ranks: tuple[int, ...]) -> None:
    run = launch(2, tmp_path / "told", fail_in, ranks, "bug", *WAVES, "hydra.run.dir=run")
    assert run.ended() == [1, 1]
    reason = "ValueError: two lines"
    log = Path("run").absolute() / "metarun.log"
    where = f" (traceback in {log})" if 0 in ranks else " in process 1 of 2"
    assert run.lines() == [f"metarun: this is a bug: {reason}{where}"]
    assert status(Path("run"))["status"] == "failed"
    assert reason in status(Path("run"))["reason"]
    assert "Traceback (most recent call last)" in log.read_text()
    assert content(Path("run"))["step"] == 0


def differ(*arguments: str) -> int:
    """The command, in which compiling serves the first process alone, and memory is too short for the second alone."""
    from metarun.engine.compile import compilation
    from metarun.engine.meta_gradient import MetaGradient

    first = os.environ["RANK"] == "0"
    in_chunks = MetaGradient._in_chunks

    def compiled_if_equal(learner: Any, eager: MetaGradient, *rest: Any) -> MetaGradient:
        return MetaGradient(learner, eager.chunk, compiled=False) if first else eager

    def short(self: MetaGradient, *rest: Any) -> Any:
        *_, at_once = rest
        if not first and at_once > 1:
            raise torch.OutOfMemoryError("out of memory")
        return in_chunks(self, *rest)

    compilation.compiled_if_equal = compiled_if_equal  # type: ignore[assignment]
    compilation.evaluates_alike = lambda *given: first  # type: ignore[assignment]
    MetaGradient._in_chunks = short  # type: ignore[assignment, method-assign]
    return metarun(*arguments)


def test_processes_may_differ_in_how_they_compute(command: Command, tmp_path: Path) -> None:
    choosing = [*WAVES, "algorithm.outer.tasks.select=k_center", "algorithm.outer.tasks.pool=2"]
    one = alone(command, "one", *choosing)
    launched(2, tmp_path / "told", differ, *choosing, "hydra.run.dir=two", "device.compile=true")
    assert_same(one, Path("two"))
    assert not decisions(Path("two"))["compile"], "where it does not serve all, none"
    assert not decisions(Path("two"))["compile_evaluation"]


def test_error_of_all_processes_is_printed_once(command: Command, tmp_path: Path) -> None:
    diverging = ("algorithm.outer.optimizer=sgd", "algorithm.outer.lr=1e200")
    run = launch(2, tmp_path / "told", metarun, *WAVES, *diverging, "hydra.run.dir=run")
    assert run.ended() == [3, 3]
    assert len(run.lines()) == 1
    assert "is not finite" in run.lines()[0]
    assert status(Path("run"))["status"] == "failed"


MISTAKES = {
    "-m": (["-m", "seed=0,1"], "-m: torchrun starts several processes for one run; sweep with metarun -m, without"),
    "unknown group": (["algoritm=maml"], "no config group or key 'algoritm'; did you mean 'algorithm'?"),
    "unknown flag": (["--nonsense"], "unrecognized arguments: --nonsense"),
    "fewer tasks": (
        [*WAVES, "engine.meta_batch_size=1"],
        "engine.meta_batch_size=1: fewer tasks than processes; start",
    ),
    "one GPU for all": ([*WAVES, "device.name=cuda:0"], "device.name=cuda:0: "),
}


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_and_leaves_nothing(
    command: Command, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    run = launch(2, tmp_path / "told", metarun, *arguments)
    assert run.ended() == [2, 2]
    assert len(run.lines()) == 1, run.told("err")
    assert run.lines()[0].startswith(f"metarun: {expected}")
    assert run.told("out") == ""
    assert list(Path().iterdir()) == []


def test_questions_are_answered_once(command: Command, tmp_path: Path) -> None:
    assert together(2, tmp_path / "version", "--version").told("out").count("metarun") == 1
    assert together(2, tmp_path / "config", "--cfg", "job").told("out").count("\nseed: 0") == 1
    assert list(Path().iterdir()) == []


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "metarun"]
ROOT = str(Path(__file__).resolve().parents[1])
PYTHONPATH = os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH"))))
ENVIRONMENT = {**os.environ, "PYTHONPATH": PYTHONPATH, "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_torchrun_itself(command: Command, tmp_path: Path) -> None:
    """The processes above have what they need of its environment."""
    one = alone(command, "one", *WAVES)
    done = subprocess.run(
        [*TORCHRUN, *WAVES, "hydra.run.dir=two"], env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    assert_same(one, Path("two"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_torchrun_asked_to_stop(command: Command, tmp_path: Path, number: signal.Signals) -> None:
    with (tmp_path / "told").open("w") as told:
        process = subprocess.Popen(
            [*TORCHRUN, *ENDLESS, "hydra.run.dir=run"], env=ENVIRONMENT, stdout=told, stderr=subprocess.STDOUT
        )
        until = time.monotonic() + PATIENCE
        while not Path("run", LAST).exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        time.sleep(1)
        process.send_signal(number)
        assert process.wait(PATIENCE) != 0
    lines = [line for line in (tmp_path / "told").read_text().splitlines() if line.startswith("metarun: ")]
    assert len(lines) == 1
    assert lines[0].startswith("metarun: stopped at step ")
    assert status(Path("run"))["status"] == "interrupted"
    together(2, tmp_path / "again", "resume=run", f"engine.steps={content(Path('run'))['step'] + 2}")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_nccl_run_equals_one_process(command: Command, tmp_path: Path) -> None:
    cuda = [override for override in WAVES if not override.startswith("device.name")] + ["device.name=cuda"]
    one = alone(command, "one", *cuda)
    one_process = [word.replace("=2", "=1") for word in TORCHRUN]
    done = subprocess.run(
        [*one_process, *cuda, "hydra.run.dir=nccl"], env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    assert_same(one, Path("nccl"))
    assert json.loads(Path("nccl/result.json").read_text())["train"]["device"] == "cuda:0"
