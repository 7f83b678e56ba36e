"""A run does not depend on who reads its output. Real processes, with pipes that nobody reads."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metarun.core.output import forgiving

FAST = ["dataset=sinusoid", "model=mlp", "model.hidden=[8]", "debug=fast", "tracking=scalars", "device.threads=1"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
PATIENCE = 300


def unread() -> int:
    """The writing end of a pipe whose reading end is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def started(
    folder: Path, *arguments: str, stdout: Any, stderr: Any, module: str = "metarun"
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=stdout,
        stderr=stderr,
        text=True,
    )


@pytest.mark.parametrize("streams", ["unread", "full", "closed"])
def test_run_finishes_if_output_cannot_be_written(tmp_path: Path, streams: str) -> None:
    arguments = [*FAST, "hydra.run.dir=run"]
    if streams == "closed":
        command = ["sh", "-c", 'exec "$0" "$@" >&- 2>&- <&-', sys.executable, "-m", "metarun", *arguments]
        code = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, timeout=PATIENCE, check=False).returncode
    else:
        place = unread() if streams == "unread" else os.open("/dev/full", os.O_WRONLY)
        code = started(tmp_path, *arguments, stdout=place, stderr=place).wait(PATIENCE)
        os.close(place)
    assert code == 0
    assert json.loads((tmp_path / "run/result.json").read_text())["metric"] == "mse"
    assert json.loads((tmp_path / "run/status.json").read_text())["status"] == "done"
    log = (tmp_path / "run/metarun.log").read_text()
    assert "meta-test" in log
    assert "Traceback" not in log


def test_closed_stdout_is_no_error(tmp_path: Path) -> None:
    jobs = ["-m", *FAST, "seed=0,1", "hydra.sweep.dir=sweep"]
    place = unread()
    process = started(tmp_path, *jobs, stdout=place, stderr=subprocess.PIPE)
    _, err = process.communicate(timeout=PATIENCE)
    os.close(place)
    assert (process.returncode, err) == (0, "")
    assert all((tmp_path / f"sweep/seed={seed}/result.json").is_file() for seed in (0, 1))


@pytest.mark.parametrize(
    ("module", "arguments"), [("metarun", ["--help"]), ("metarun.report", ["--help"]), ("metarun", ["--version"])]
)
def test_what_only_prints_ends_quietly(tmp_path: Path, module: str, arguments: list[str]) -> None:
    place = unread()
    process = started(tmp_path, *arguments, stdout=place, stderr=subprocess.PIPE, module=module)
    _, err = process.communicate(timeout=PATIENCE)
    os.close(place)
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_with_closed_output_saves_and_fails(tmp_path: Path, number: signal.Signals) -> None:
    endless = [*FAST, "engine.steps=1000000", "engine.val_every=1000000", "engine.checkpoint_every=1000000"]
    place = unread()
    process = started(tmp_path, *endless, "hydra.run.dir=run", stdout=place, stderr=subprocess.PIPE)
    deadline = time.monotonic() + PATIENCE
    while not list(tmp_path.glob("run/events.out*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)  # for it to be among its meta-updates
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    os.close(place)
    assert process.returncode == 130, err
    assert err.startswith("metarun: stopped at step ")
    assert err.count("\n") == 1
    assert json.loads((tmp_path / "run/status.json").read_text())["status"] == "interrupted"
    assert not (tmp_path / "run/result.json").exists()
    assert list(tmp_path.glob("run/checkpoints/last*"))


def test_a_broken_pipe_of_something_else_is_no_success(
    command: Callable[..., tuple[int, str, str]], experiment: Callable[[Callable[..., Any]], None]
) -> None:
    def run(settings: Any, folder: Path) -> float:
        raise BrokenPipeError(32, "Broken pipe")

    experiment(run)
    code, _, err = command("hydra.run.dir=run")
    assert code == 1
    assert "BrokenPipeError" in err


def test_unencodable_text_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    with forgiving(), pytest.raises(UnicodeEncodeError):
        print("±")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    sys.stdout.close()
    with forgiving():
        print("dropped")
