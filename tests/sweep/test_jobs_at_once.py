"""Jobs in processes of their own, which are killed and begun again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metarun.runs.files import LAST
from metarun.sweep.folder import state

WAVES = [
    "dataset=sinusoid",
    "model=mlp",
    "model.hidden=[8,8]",
    "algorithm.inner_lr=0.01",
    "engine.steps=6",
    "engine.val_every=3",
    "engine.checkpoint_every=2",
    "engine.val_episodes=4",
    "engine.test_episodes=8",
    "engine.meta_batch_size=2",
    "device.compile=false",
    "device.threads=1",
    "tracking=scalars",
]


def metarun(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "metarun", *arguments]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def results(folder: Path) -> dict[str, int]:
    """The jobs that have come to their end, and when."""
    return {file.parent.name: file.stat().st_mtime_ns for file in folder.glob("*/result.json")}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_launchers_give_the_same_numbers(tmp_path: Path, launcher: str) -> None:
    jobs = ["-m", *WAVES, "seed=0,1", "algorithm.inner_lr=0.01,1e30"]
    at_once = metarun(tmp_path, *jobs, f"hydra/launcher={launcher}", "sweep.parallel=2", "hydra.sweep.dir=many")
    _, err = at_once.communicate(timeout=300)
    assert at_once.returncode == 2, "two of the jobs diverge"
    assert err.count("FAILED  algorithm.inner_lr=1e+30,seed=") == 2
    one_by_one = metarun(tmp_path, *jobs, "hydra.sweep.dir=few")
    one_by_one.communicate(timeout=300)
    for seed in (0, 1):
        name = f"algorithm.inner_lr=0.01,seed={seed}"
        assert (tmp_path / "many" / name / "episodes.csv").read_text() == (
            tmp_path / "few" / name / "episodes.csv"
        ).read_text()
        failed = state(tmp_path / "many" / f"algorithm.inner_lr=1e+30,seed={seed}")
        assert failed["status"] == "failed"
        assert "is not finite" in failed["reason"]


@pytest.mark.slow
def test_killed_again_and_again_a_sweep_comes_to_its_end(tmp_path: Path) -> None:
    begun = [*WAVES, "engine.steps=60", "engine.test_episodes=400", "seed=0,1,2,3,4,5", "device.threads=1"]
    commands = [["-m", *begun, "hydra/launcher=joblib", "sweep.parallel=2", "hydra.sweep.dir=sweep"], ["resume=sweep"]]
    sweep, ended = tmp_path / "sweep", dict[str, int]()
    for times in range(3):
        process = metarun(tmp_path, *commands[min(times, 1)])
        deadline = time.monotonic() + 60
        while len(results(sweep)) <= len(ended) and time.monotonic() < deadline:
            time.sleep(0.05)
        # The sweep alone at first, whose jobs may go on as orphans; then it with all its processes.
        if times == 0:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert len(results(sweep)) > len(ended)
        ended = results(sweep)
    process = metarun(tmp_path, "resume=sweep")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert len(results(sweep)) == 6
    assert ended.items() <= results(sweep).items(), "none is run twice to its end"
    assert all(state(sweep / name)["status"] == "done" for name in results(sweep))


@pytest.mark.slow
def test_job_with_a_killed_process_has_failed(tmp_path: Path) -> None:
    endless = ["engine.steps=100000", "engine.checkpoint_every=100000", "engine.val_every=100000"]
    jobs = ["-m", *WAVES, *endless, "seed=0,1", "hydra/launcher=joblib", "sweep.parallel=2", "hydra.sweep.dir=sweep"]
    process = metarun(tmp_path, *jobs)
    victims: list[Path] = []
    deadline = time.monotonic() + 60
    while len(victims) < 2 and time.monotonic() < deadline:
        victims = [file.parent for file in (tmp_path / "sweep").glob("*/events.out*")]
        time.sleep(0.1)
    workers = subprocess.run(
        ["ps", "-ww", "--ppid", str(process.pid), "-o", "pid=,args="], capture_output=True, text=True, check=True
    )
    worker = next(line.split()[0] for line in workers.stdout.splitlines() if "LokyProcess" in line)
    os.kill(int(worker), signal.SIGKILL)
    deadline = time.monotonic() + 60
    while not any(state(victim)["status"] == "failed" for victim in victims) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    out, err = process.communicate()
    assert any("its process ended without a word" in state(victim).get("reason", "") for victim in victims), (
        worker,
        workers.stdout,
        out,
        err,
    )


@pytest.mark.slow
def test_ctrl_c_lets_jobs_save_and_begins_no_other(tmp_path: Path) -> None:
    jobs = ["-m", *WAVES, "engine.steps=100000", "seed=0,1,2", "hydra/launcher=joblib", "sweep.parallel=2"]
    process = metarun(tmp_path, *jobs, "hydra.sweep.dir=sweep")
    sweep, deadline = tmp_path / "sweep", time.monotonic() + 120
    while len(list(sweep.glob(f"*/{LAST}"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert err.splitlines()[-1].startswith("metarun: sweep stopped: 0 of 3 jobs ended, 0 failed; resume with: ")
    states = [state(sweep / f"seed={seed}") for seed in (0, 1)]
    assert all(one["status"] == "interrupted" and "stopped at step" in one["reason"] for one in states)
    assert not (sweep / "seed=2").exists()
