"""scripts/on_gpu: that it works, as far as a CPU can show, and keeps what it has when it is stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ON_GPU = [str(ROOT / "scripts" / "on_gpu")]
ENVIRONMENT = {**os.environ, "PYTHON": sys.executable}


def on_gpu(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ON_GPU, *arguments], env=ENVIRONMENT, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_a_dry_run_goes_through_and_writes_both_files(tmp_path: Path) -> None:
    done = on_gpu("--dry", f"--out={tmp_path}", "--only=smoke,omniglot,tests", "--minutes=9")
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads((tmp_path / "on_gpu.json").read_text(encoding="utf-8"))
    stages = content["stages"]
    assert list(stages) == ["smoke", "omniglot", "tests"]
    assert all(stage["ok"] for stage in stages.values())
    assert stages["tests"]["skipped"] == stages["tests"]["tests"] > 0
    assert [at["step"] for at in stages["omniglot"]["validations"]] == [5, 10]
    assert 0 < stages["omniglot"]["validations"][0]["seconds"] < stages["omniglot"]["seconds"]
    page = (tmp_path / "on_gpu.md").read_text(encoding="utf-8")
    assert "| smoke | done | " in page
    assert f"meta-test accuracy {stages['omniglot']['result']['meta_test']['metrics']['accuracy']['mean']:.4f}" in page


@pytest.mark.slow
def test_stopped_benchmark_keeps_results_and_ends_processes(tmp_path: Path) -> None:
    command = [*ON_GPU, "--dry", f"--out={tmp_path}", "--only=tests,omniglot", "--minutes=9"]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 300
    while not list(tmp_path.glob("*/omniglot/status.json")) and time.monotonic() < until:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    content = json.loads((tmp_path / "on_gpu.json").read_text(encoding="utf-8"))
    assert list(content["stages"]) == ["tests"]
    (status,) = tmp_path.glob("*/omniglot/status.json")
    assert json.loads(status.read_text(encoding="utf-8"))["status"] != "running"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--only=sinus", "--only sinus: no such stage; choose from smoke, "),
        ("--minutes=0", "--minutes must be above 0 and at most 60"),
        ("--omniglot=nowhere", "--omniglot nowhere: no such folder"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(argument: str, message: str, tmp_path: Path) -> None:
    done = on_gpu(argument, f"--out={tmp_path / 'out'}")
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]


def test_validations_are_read_from_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import on_gpu as script

    log = tmp_path / "metarun.log"
    log.write_text(
        "2026-11-27 02:00:01,500 INFO compiling the meta-step: a minute or so, less the next time\n"
        "2026-11-27 02:00:03,250 INFO step   250 of 4,000  accuracy  meta-train 0.5  meta-val 0.8125 ± 0.01 (best)\n"
        "2026-11-27 02:00:13,000 INFO step 1,500 of 4,000  accuracy  meta-train 0.5  meta-val 0.9000 ± 0.01        \n"
    )
    began = datetime(2026, 11, 27, 2, 0, 0).timestamp()
    assert script.validations(log, began) == [
        {"step": 250, "seconds": 3.25, "accuracy": 0.8125},
        {"step": 1500, "seconds": 13.0, "accuracy": 0.9},
    ]
    assert script.validations(tmp_path / "none", began) == []
