"""Runs whose figures a results file keeps, so that a comparison can be stopped and continued."""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark import machine

from metarun.core.files import write_text
from metarun.runs.files import saved

Record = dict[str, Any]
"""What the results file holds of a run: its overrides, and either its figures or why there are none."""


@dataclass(frozen=True)
class Run:
    """One run: a method on a problem, with a seed."""

    name: str
    problem: str
    seed: int
    folder: Path
    overrides: list[str]

    @property
    def key(self) -> str:
        """Its name in the results file."""
        return f"{self.problem} / {self.name} / seed {self.seed}"

    def command(self, folder: Path, *more: str) -> list[str]:
        return [sys.executable, "-m", "metarun", *self.overrides, *more, f"hydra.run.dir={folder}"]


class ResultsFile:
    """The records by `Run.key`, as JSON; written anew after each run."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._records: dict[str, Record] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def get(self, run: Run) -> Record | None:
        """The run's record, unless it is of other settings."""
        record = self._records.get(run.key)
        return record if record is not None and record["overrides"] == run.overrides else None

    def add(self, run: Run, record: Record) -> None:
        with self._lock:
            self._records[run.key] = {"overrides": run.overrides, **record}
            write_text(self._path, json.dumps(self._records, indent=1, sort_keys=True) + "\n")


def add_options(parser: argparse.ArgumentParser, seeds: str, results: Path) -> None:
    """The options that comparisons share; read them with `read_options`."""
    parser.add_argument("folder", type=Path, help="where the runs go")
    parser.add_argument("--seeds", default=seeds, help="with commas between (default %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each (default %(default)s)")
    parser.add_argument("--minutes", type=float, help="stop after this time; what runs then is saved")
    parser.add_argument("--results", type=Path, default=results, help="file to add to (default %(default)s)")
    parser.add_argument("--write", type=Path, help="Markdown page whose tables to replace")


def read_options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line, with ``seeds`` as numbers. Ends the program for a mistake."""
    given = parser.parse_args()
    try:
        given.seeds = [int(seed) for seed in given.seeds.split(",")]
    except ValueError:
        parser.error(f"--seeds {given.seeds}: give whole numbers with commas between, as in 0,1,2")
    if given.jobs < 1 or (given.minutes is not None and given.minutes <= 0):
        parser.error("--jobs and --minutes must be positive")
    return given


def all_trained(runs: Iterable[Run], results: ResultsFile, jobs: int, minutes: float | None) -> None:
    """Run what is missing, ``jobs`` at a time, and stop after so many minutes."""
    deadline = time.monotonic() + 60 * minutes if minutes else None
    missing = [run for run in runs if results.get(run) is None]
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda run: trained(run, results, deadline), missing))


def trained(run: Run, results: ResultsFile, deadline: float | None) -> None:
    """Run, or resume, what is missing, and add it to the results; nothing if there is no time left for it."""
    left = None if deadline is None else deadline - time.monotonic()
    if left is not None and left <= 0:
        return
    result = run.folder / "result.json"
    refuse_other_settings(run)
    if not result.exists():
        resumable = bool(saved(run.folder))
        command = [sys.executable, "-m", "metarun", f"resume={run.folder}"] if resumable else run.command(run.folder)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            _, errors = process.communicate(timeout=left)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.communicate()
            return
        if process.returncode in (2, 3):
            refused = process.returncode == 2 and not resumable and not (run.folder / "checkpoints").exists()
            results.add(run, {"refused" if refused else "diverged": last_line(errors)})
            print(f"{run.key}: {last_line(errors)}", file=sys.stderr, flush=True)
            return
        if process.returncode:
            raise SystemExit(f"{' '.join(command)}\n{last_line(errors)}")
    found = figures(json.loads(result.read_text(encoding="utf-8")))
    if found["mean"] is None:
        found = {"diverged": "the figure of meta-test is not finite"}
    results.add(run, found)
    print(f"{run.key}: {told(found)}", file=sys.stderr, flush=True)


def refuse_other_settings(run: Run) -> None:
    """Write the run's overrides next to its folder. End the program if its folder holds a run with others."""
    written = run.folder.with_name(f"{run.folder.name}.overrides.json")
    settings = json.dumps(run.overrides)
    if run.folder.exists() and (not written.exists() or written.read_text(encoding="utf-8") != settings):
        raise SystemExit(f"{run.folder}: holds a run with other settings; delete it, or choose another folder")
    written.parent.mkdir(parents=True, exist_ok=True)
    write_text(written, settings)


def figures(content: dict[str, Any]) -> Record:
    """What is kept of a run's ``result.json``, by a metric that all likelihoods have."""
    metric = content["baselines"]["metric"]
    figure, curve = content["meta_test"]["metrics"][metric], content["meta_test"]["adaptation"][metric]["mean"]
    baselines = content["baselines"]
    return {
        "metric": metric,
        "higher_is_better": content["higher_is_better"][metric],
        "mean": figure["mean"],
        "ci95": figure["ci95"],
        "before": curve[0],
        "beats_baselines": baselines["beaten"],
        "best_baseline": baselines["best"],
        "baselines": {name: method["mean"] for name, method in baselines["methods"].items()},
        "seconds": content["train"]["seconds"],
        "cpu": machine()["cpu"],
        "versions": content["versions"],
    }


def told(found: Record) -> str:
    """A mean with its interval, which a single task does not have."""
    if "diverged" in found:
        return str(found["diverged"])
    return f"{found['mean']:.4f}" + ("" if found["ci95"] is None else f" ± {found['ci95']:.4f}")


def replace_table(page: Path, text: str, markers: tuple[str, str]) -> None:
    """Put a table between a page's two markers."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(markers[0])
    _, end, after = rest.partition(markers[1])
    if not begin or not end:
        raise SystemExit(f"{page}: has no lines {markers[0]} and {markers[1]}")
    write_text(page, f"{before}{begin}\n{text}\n{end}{after}")


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "(no output)"
