"""What is said of runs that are not done."""

import os
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

from run_folders import write_run

from metarun.report.runs import Run, read
from metarun.report.unfinished import Unfinished, unfinished
from metarun.runs.files import LAST

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def runs(*folders: Path) -> list[Run]:
    return [run for folder in folders if (run := read(folder)) is not None]


def wrote(folder: Path, name: str, ago: timedelta) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).touch()
    os.utime(folder / name, ((NOW - ago).timestamp(),) * 2)


def test_a_failed_run_names_its_reason_and_its_log(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", {"algorithm.outer.lr": 9, "seed": 2}, status="failed", reason="not finite")
    (folder / "metarun.log").touch()
    (found,) = unfinished(runs(write_run(tmp_path / "done"), folder))
    assert found == Unfinished("failed", str(folder), "lr=9 seed=2", "not finite", f"see {folder}/metarun.log")


def test_stopped_run_has_a_resume_command(tmp_path: Path) -> None:
    reason = "stopped at step 7 of 10; resume with: metarun resume=elsewhere/a"
    folder = write_run(tmp_path / "a b", status="interrupted", reason=reason)
    (found,) = unfinished(runs(folder))
    assert (found.reason, found.next) == ("stopped at step 7 of 10", "restart it: it had not saved a state yet")
    wrote(folder, LAST, timedelta(0))
    assert unfinished(runs(folder))[0].next == f"metarun 'resume={folder}'"


def test_resume_command_is_quoted(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "algorithm=maml,seed=0  it's $5", status="interrupted")
    wrote(folder, LAST, timedelta(0))
    assert shlex.split(unfinished(runs(folder))[0].next) == ["metarun", f"resume={folder}"]


def test_a_stopped_test_is_tested_again(tmp_path: Path) -> None:
    folder = write_run(
        tmp_path / "a", {"mode": "test", "checkpoint": "runs/b", "config_dir": "/own"}, None, "interrupted"
    )
    assert unfinished(runs(folder))[0].next == "metarun --config-dir /own mode=test checkpoint=runs/b"


def test_running_run_has_the_time_of_its_last_write(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", status="running")
    assert unfinished(runs(folder), NOW)[0].reason == "wrote nothing yet"
    wrote(folder, LAST, timedelta(hours=5))
    wrote(folder, "metarun.log", timedelta(seconds=40))
    (found,) = unfinished(runs(folder), NOW)
    assert (found.reason, found.next) == ("last wrote 40 s ago", "")
    wrote(folder, "metarun.log", timedelta(minutes=90))
    (found,) = unfinished(runs(folder), NOW)
    assert (found.reason, found.next) == ("last wrote 90 min ago", f"if it was killed: metarun resume={folder}")


def test_each_dataset_has_its_own_varying_keys(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path / "a", {"dataset.shots": 5}, status="failed"),
        write_run(tmp_path / "b", {"dataset.shots": 1}),
        write_run(tmp_path / "c", {"dataset": "sinusoid", "dataset.noise": 0.1}, status="failed"),
    ]
    assert [one.label for one in unfinished(runs(*folders))] == ["shots=5 seed=0", "seed=0"]


def test_a_run_without_settings_has_no_label(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", status="failed", reason="no data")
    (folder / "config.yaml").unlink()
    (found,) = unfinished(runs(folder))
    assert (found.label, found.reason, found.next) == ("", "no data", "")
