"""Sweeps by the command line, with runs that end at once, as they are told to."""

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_runs import Command, Experiment, Runs
from filelock import FileLock

from metarun.core.errors import Interrupted, UserError
from metarun.engine.processes.single import Processes
from metarun.report.command import main as report
from metarun.runs.status import write_status
from metarun.setup.settings import Settings


def state(name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(Path("sweep", name, "status.json").read_text())
    return told


SWEEP = ("-m", "algorithm=maml,anil", "seed=0,1", "hydra.sweep.dir=sweep")


def test_grid_runs_and_reports_every_combination(command: Command, runs: Runs) -> None:
    runs.values = {0: 0.5, 1: 0.75}
    code, out, err = command(*SWEEP)
    assert (code, err) == (0, "")
    assert runs.begun == [("maml", 0), ("maml", 1), ("anil", 0), ("anil", 1)]
    assert runs.swept == ("algorithm", "seed")
    lines = out.splitlines()
    assert lines[0] == "sweep of 4 jobs over algorithm, seed · sweep"
    assert sorted(line.split("  ")[-1] for line in lines[1:5]) == sorted(
        f"algorithm={algorithm},seed={seed}" for algorithm in ("maml", "anil") for seed in (0, 1)
    )
    assert all("done    meta-val accuracy 0." in line for line in lines[1:5])
    assert lines[5:] == [
        "best        meta-val accuracy 0.6250 over 2 seeds: algorithm=maml",
        "compare     metarun-report sweep",
        "look        tensorboard --logdir sweep",
    ]
    assert state("algorithm=maml,seed=0")["status"] == "done"


def test_restarted_sweep_runs_missing_and_failed_jobs(command: Command, runs: Runs) -> None:
    runs.acts = {1: UserError("no luck")}
    assert command(*SWEEP)[0] == 2
    runs.acts, before = {}, len(runs.begun)
    code, out, _ = command("resume=sweep")
    assert code == 0
    assert runs.begun[before:] == [("maml", 1), ("anil", 1)]
    assert "2 of them done before" in out
    code, out, _ = command(*SWEEP)
    assert (code, len(runs.begun)) == (0, before + 2)
    # With more values, what is done stays done.
    assert command("-m", "algorithm=maml,anil", "seed=0,1,2", "hydra.sweep.dir=sweep")[0] == 0
    assert runs.begun[before + 2 :] == [("maml", 2), ("anil", 2)]


def test_stopped_job_is_resumed(command: Command, runs: Runs) -> None:
    runs.acts = {0: Interrupted("stopped at step 3")}
    code, _, err = command(*SWEEP)
    assert code == 130
    assert err.splitlines()[-1] == (
        "metarun: sweep stopped: 0 of 4 jobs ended, 0 failed; resume with: metarun resume=sweep"
    )
    assert runs.begun == [("maml", 0)], "after it none begins"
    assert not Path("sweep/algorithm=maml,seed=1").exists(), "and leaves no trace"
    runs.acts = {}
    assert command("resume=sweep")[0] == 0
    assert runs.resumed == ["algorithm=maml,seed=0"]
    assert len(runs.begun) == 5


def test_failed_job_is_reported_and_others_continue(command: Command, runs: Runs) -> None:
    runs.acts = {1: UserError("no luck")}
    code, _, err = command("-m", "seed=0,1,2", "hydra.sweep.dir=sweep")
    assert (code, [seed for _, seed in runs.begun]) == (2, [0, 1, 2])
    log = Path("sweep/seed=1/metarun.log").absolute()
    assert f"FAILED  seed=1: no luck (log: {log})" in err
    assert err.splitlines()[-1] == (
        "metarun: 3 of 3 jobs ended, 1 failed; the first failure: seed=1: no luck; to run what is missing: "
        "metarun resume=sweep"
    )
    assert state("seed=1")["reason"] == "no luck"
    assert "ERROR no luck" in log.read_text()
    assert "Traceback" not in err


def test_bug_is_reported_as_a_bug(command: Command, runs: Runs) -> None:
    runs.acts = {1: ZeroDivisionError("by zero")}
    code, _, err = command("-m", "seed=0,1,2", "hydra.sweep.dir=sweep")
    assert (code, [seed for _, seed in runs.begun]) == (1, [0, 1, 2])
    assert "ZeroDivisionError: by zero" in err
    assert "Traceback" in Path("sweep/seed=1/metarun.log").read_text()


def test_on_failure_stop(command: Command, runs: Runs) -> None:
    runs.acts = {1: UserError("no luck")}
    code, _, err = command("-m", "seed=0,1,2", "sweep.on_failure=stop", "hydra.sweep.dir=sweep")
    assert (code, [seed for _, seed in runs.begun]) == (2, [0, 1])
    assert "2 of 3 jobs ended, 1 failed; the first failure: seed=1: no luck" in err


def test_ctrl_c_asks_jobs_to_end(command: Command, experiment: Experiment) -> None:
    asked = []

    def run(settings: Settings, folder: Path, processes: Processes, swept: Sequence[str], stop_file: Path) -> float:
        write_status(folder, "running")
        assert not stop_file.exists()
        signal.raise_signal(signal.SIGINT)
        asked.append(stop_file.exists())
        raise Interrupted("stopped at step 3")

    experiment(run)
    before = signal.getsignal(signal.SIGINT)  # whatever started the tests may have it ignored
    code, _, err = command("-m", "seed=0,1", "hydra.sweep.dir=sweep")
    assert (code, asked) == (130, [True])
    assert "sweep stopped" in err
    assert signal.getsignal(signal.SIGINT) is before


def test_other_settings_do_not_mix_with_those_in_the_folder(command: Command, runs: Runs) -> None:
    assert command(*SWEEP)[0] == 0
    code, _, err = command(*SWEEP, "engine.steps=7")
    assert code == 2
    assert "holds a run with engine.steps=1000, and this job has 7; give another hydra.sweep.dir" in err
    assert len(runs.begun) == 4


def test_two_sweeps_at_once_in_one_folder(command: Command, runs: Runs) -> None:
    Path("sweep").mkdir()
    with FileLock("sweep/.lock"):
        code, _, err = command(*SWEEP)
    assert code == 2
    assert "in use by the sweep of another process" in err
    assert not runs.begun


def test_one_configuration_of_several_seeds_is_best_by_its_mean(command: Command, runs: Runs) -> None:
    runs.values = {0: None, 1: 0.9}
    code, out, _ = command(*SWEEP)
    assert code == 0
    assert "meta-val accuracy not finite" in out
    # Seed 0 of both has no figure: none is whole, so the best is one of them, and how many seeds it has is said.
    assert "best        meta-val accuracy 0.9000 over 1 of 2 seeds: algorithm=maml" in out


def test_sweep_and_report_agree_on_the_best(command: Command, runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    """MAML is better with the seed that it survives, ANIL the only one that is whole."""
    runs.by_name = {("maml", 0): 0.9, ("maml", 1): UserError("diverged"), ("anil", 0): 0.6, ("anil", 1): 0.7}
    code, out, _ = command(*SWEEP)
    assert code == 2
    assert "best        meta-val accuracy 0.6500 over 2 seeds: algorithm=anil" in out
    capfd.readouterr()
    assert report(["sweep"]) == 0
    told = capfd.readouterr().out
    assert "best by meta-val accuracy: anil, in sweep/algorithm=anil,seed=0 and 1 more of other seeds" in told
    assert "1 of 2" in told


MISTAKES = {
    "unknown key": (["dataset.shotz=1,2"], "dataset.shotz=1,2: no key 'shotz' in dataset=glyphs"),
    "a later value": (["engine.steps=5,none"], "engine.steps=none: an integer of at least 1 is expected"),
    "a later option": (["algorithm=maml,protonet", "algorithm.inner_lr=0.1"], "(in the job algorithm.inner_lr=0.1 "),
    "an interval": (["engine.steps=interval(1,2)"], "engine.steps=1.5: an integer of at least 1 is expected"),
    "an interval in a grid": (
        ["algorithm.inner_lr=interval(0.1,0.2)"],
        "algorithm.inner_lr=interval(0.1,0.2): a grid takes single values, as in algorithm.inner_lr=0.1,0.2",
    ),
    "twice": (["seed=0,1", "seed=2,3"], "seed=2,3: seed is given twice"),
    "parallel": (["seed=0,1", "sweep.parallel=2"], "sweep.parallel=2: this launcher runs one job after another"),
    "unknown option": (["sweep=opt"], "sweep=opt: no such sweep; did you mean 'optuna'?"),
    "a key of another": (["seed=0,1", "sweep.trials=3"], "sweep.trials=3: no key 'trials' in sweep=grid"),
    "a sweeper of Hydra's": (["hydra/sweeper=basic2"], "hydra/sweeper"),
    "names of jobs": (["seed=0,1", "hydra.sweep.subdir=x"], "hydra.sweep.subdir: metarun sets the names of jobs"),
    "objective": (
        ["seed=0,1", "sweep.objective=acuracy"],
        "sweep.objective=acuracy: no such metric; did you mean 'accuracy'? (these runs have accuracy, precision, ",
    ),
    "an objective with neither direction": (
        ["seed=0,1", "dataset=sinusoid", "model=mlp", "algorithm=cnp", "sweep.objective=coverage"],
        "sweep.objective=coverage: has no direction; use nll",
    ),
    "parts that don't go together": (
        ["sweep=random", "algorithm=protonet", "dataset=sinusoid"],
        "algorithm=protonet: ",
    ),
    "resume with jobs": (["resume=sweep", "seed=3"], "resume=sweep: "),
}


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_errors_are_reported_before_the_first_job(
    command: Command, runs: Runs, arguments: list[str], expected: str
) -> None:
    code, _, err = command("-m", *arguments, "hydra.sweep.dir=new")
    assert (code, runs.begun) == (2, [])
    assert len(err.splitlines()) == 1
    assert expected in err
    assert not list(Path("new").glob("[!.]*"))


def test_a_search_is_for_sweeps(command: Command, runs: Runs) -> None:
    assert command("sweep=random")[2] == "metarun: sweep=random: is for sweeps; write metarun -m\n"
    assert not runs.begun


def test_missing_launchers(command: Command, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metarun.sweep.launching._installed", lambda module: False)
    code, _, err = command("-m", "seed=0,1", "hydra/launcher=ray")
    assert (code, err) == (2, "metarun: hydra/launcher=ray: pip install 'metarun[ray]'\n")


def test_broken_and_foreign_sweep_files(command: Command, runs: Runs) -> None:
    Path("sweep").mkdir()
    for text, expected in (
        ("{", "cannot be read"),
        ("overrides: 3", "not what metarun -m writes"),
        ("overrides: [algorithm._target_=os.system]", "is not used from a saved file"),
    ):
        Path("sweep/sweep.yaml").write_text(text)
        code, _, err = command("resume=sweep")
        assert code == 2
        assert expected in err
    Path("sweep/sweep.yaml").write_text("overrides: ['seed=0,1']")
    assert "a resumed sweep keeps its jobs" in command("resume=sweep", "seed=0,1,2")[2]
    assert command("resume=sweep", "sweep.on_failure=stop")[0] == 0


def test_random_trials_with_seeds(command: Command, runs: Runs) -> None:
    arguments = ("-m", "sweep=random", "sweep.trials=3", "dataset=sinusoid", "model=mlp", "seed=0,1")
    code, out, _ = command(*arguments, "hydra.sweep.dir=sweep")
    assert code == 0
    assert "sweep of 6 jobs over algorithm.outer.lr, algorithm.inner_lr, algorithm.inner_steps, seed" in out
    names = sorted(folder.name for folder in Path("sweep").glob("trial-*"))
    assert len(names) == 6
    assert names[0].startswith("trial-001,inner_lr=")
    assert [name.rpartition(",")[2] for name in names[:2]] == ["seed=0", "seed=1"]
    assert command(*arguments, "sweep.trials=4", "hydra.sweep.dir=sweep")[0] == 0
    assert len(runs.begun) == 8


def test_search_continues_after_failed_trials(command: Command, runs: Runs) -> None:
    arguments = ("-m", "sweep=random", "sweep.trials=2", "dataset=sinusoid", "model=mlp", "hydra.sweep.dir=sweep")
    runs.acts = {0: UserError("the loss at step 1 is not finite")}
    code, _, err = command(*arguments)
    assert (code, len(runs.begun)) == (2, 2)
    assert "2 of 2 jobs ended, 2 failed" in err, "where all fail, the search has failed"
    code, out, _ = command(*arguments, "seed=0,1", "hydra.sweep.dir=other")
    assert code == 0
    assert "failed      2 of 4; the search went on without them" in out
