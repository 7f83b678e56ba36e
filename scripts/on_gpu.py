"""Run on one GPU what cannot be run without: a whole run, meta-step benchmarks, MAML on Omniglot, the `gpu` tests.

    scripts/on_gpu [--out FOLDER] [--omniglot FOLDER] [--minutes 8] [--only STAGE,…] [--dry]

Needs no network, and nothing but a Python with the packages that metarun needs. Stages run in the order of their
worth, each in processes of its own with a time limit. After each stage FOLDER/on_gpu.json and FOLDER/on_gpu.md are
written anew, so that the script can be stopped at any time; the output of the stages is in FOLDER/*/*.log. ``--dry``
runs a small form of everything on the CPU, to see that the script works. Exits with 1 if a stage failed.
"""

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STOP_SECONDS = 20
"""How long a stage that is asked to stop may take to save what it has."""
TESTING_SECONDS = 40
"""Of the Omniglot stage's time, kept for the meta-test."""
VARIANTS = "loop,eager,graphs,compiled,compiled-graphs,bf16"
DRY_VARIANTS = "loop,eager"


@dataclass
class Session:
    """What all stages share.

    deadline: when the script must be done, by `time.monotonic`. omniglot: the folder with the two zip files, if any.
    """

    folder: Path
    omniglot: Path | None
    deadline: float
    dry: bool
    running: subprocess.Popen[str] | None = None
    environment: dict[str, str] = field(
        default_factory=lambda: {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    )

    @property
    def device(self) -> str:
        return "cpu" if self.dry else "cuda"

    def run(self, name: str, command: list[str], seconds: float) -> int | None:
        """Run a command, its output in ``name.log``; returns its exit code, ``None`` if its time was over."""
        limit = min(seconds, self.deadline - time.monotonic())
        with (self.folder / f"{name}.log").open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(command)}\n")
            log.flush()
            self.running = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, cwd=ROOT,
                env=self.environment, start_new_session=True,
            )  # fmt: skip
            try:
                return self.running.wait(max(limit, 1))
            except subprocess.TimeoutExpired:
                return None
            finally:
                self.end()

    def end(self) -> None:
        """Stop what is running: ask first, so that it saves its state."""
        process, self.running = self.running, None
        if process is None or process.poll() is not None:
            return
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


Result = dict[str, Any]


def whole_run(session: Session, seconds: float) -> Result:
    """The smallest whole run: sine waves."""
    folder = session.folder / "smoke"
    command = metarun(
        "dataset=sinusoid", "model=mlp", "debug=fast", "algorithm.inner_lr=0.01", f"device={session.device}"
    )
    code = session.run("smoke", [*command, f"hydra.run.dir={folder}"], seconds)
    return {"exit": code, "ok": code == 0, "result": result_of(folder)}


def benchmark(row: str) -> Callable[[Session, float], Result]:
    """One row of scripts/benchmark.py."""

    def stage(session: Session, seconds: float) -> Result:
        file = session.folder / f"{row}.json"
        options = [f"--only={row}", f"--device={session.device}", f"--json={file}", f"--patience={seconds / 2:.0f}"]
        options += ["--quick", f"--variants={DRY_VARIANTS}"] if session.dry else [f"--variants={VARIANTS}"]
        code = session.run(row, [sys.executable, str(ROOT / "scripts" / "benchmark.py"), *options], seconds)
        if not file.exists():
            return {"exit": code, "ok": False}
        content = json.loads(file.read_text(encoding="utf-8"))
        return {"exit": code, "ok": code == 0, "floor": content["floor"], **content["rows"][0]}

    return stage


def omniglot(session: Session, seconds: float) -> Result:
    """MAML trained until its time is over, then meta-tested; without Omniglot on letters drawn from fonts."""
    folder = session.folder / "omniglot"
    if session.dry:
        chosen = ["dataset=glyphs", "debug=fast", "model.channels=4"]
    elif session.omniglot is None:
        chosen = ["engine.steps=3000", "engine.meta_batch_size=32", "engine.val_every=250"]
    else:
        chosen = [
            "experiment=maml_omniglot_5w1s", f"dataset.root={session.omniglot}", "engine.val_every=500",
            "engine.val_episodes=600",
        ]  # fmt: skip
    began = time.time()
    command = metarun(*chosen, f"device={session.device}", f"hydra.run.dir={folder}")
    code = session.run("omniglot", command, seconds - TESTING_SECONDS)
    found: Result = {
        "exit": code,
        "data": "letters drawn from fonts" if session.omniglot is None else "Omniglot",
        "validations": validations(folder / "metarun.log", began),
    }
    if code is None:  # stopped in the middle: the best state so far is tested
        tested = session.folder / "omniglot-test"
        command = metarun("mode=test", f"checkpoint={folder}", f"device={session.device}", f"hydra.run.dir={tested}")
        found["test_exit"] = session.run("omniglot", command, TESTING_SECONDS)
        folder = tested
    found["result"] = result_of(folder)
    return {**found, "ok": found["result"] is not None}


def validations(log: Path, began: float) -> list[dict[str, float]]:
    """Step, seconds since the process started, and meta-val accuracy of each validation in a run's log."""
    pattern = re.compile(r"^(\S+ \S+),(\d+) INFO step +([\d,]+) of .*meta-val ([\d.]+)")
    found = []
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else []:
        if match := pattern.match(line):
            when = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S").timestamp() + int(match[2]) / 1000
            step = int(match[3].replace(",", ""))
            found.append({"step": step, "seconds": round(when - began, 2), "accuracy": float(match[4])})
    return found


def tests(session: Session, seconds: float) -> Result:
    """The tests marked `gpu`; in a dry run they are collected and skipped."""
    report = session.folder / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", f"--junitxml={report}"]
    code = session.run("tests", [*command, "tests/engine/test_cuda.py"] if session.dry else command, seconds)
    if not report.exists():  # written at the end only
        log = (session.folder / "tests.log").read_text(encoding="utf-8")
        return {"exit": code, "ok": False, "output": log.splitlines()[-5:]}
    from xml.etree import ElementTree

    suite = next(ElementTree.parse(report).iter("testsuite"))
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    failed = [case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None]
    return {"exit": code, "ok": code == 0, **counts, "failed": failed}


STAGES: dict[str, tuple[float, Callable[[Session, float], Result]]] = {
    "smoke": (60, whole_run),
    "sine-1": (70, benchmark("sine-1")),
    "omniglot-1": (110, benchmark("omniglot-1")),
    "omniglot": (160, omniglot),
    "tests": (120, tests),
    "sine-5": (60, benchmark("sine-5")),
    "tasks-512": (60, benchmark("tasks-512")),
    "omniglot-5": (110, benchmark("omniglot-5")),
}
"""Stages in the order of their worth, with the seconds that each may take."""
DRY_STAGES = ("smoke", "sine-1", "omniglot", "tests")


def metarun(*overrides: str) -> list[str]:
    return [sys.executable, "-m", "metarun", *overrides]


def result_of(folder: Path) -> Result | None:
    file = folder / "result.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def machine(dry: bool) -> dict[str, Any]:
    """What the figures depend on. Exits with a message where there is no GPU, or metarun cannot be imported."""
    sys.path.insert(0, str(ROOT))  # not the folder of this script: metarun need not be installed
    try:
        import torch

        import metarun as package
    except ImportError as error:
        raise SystemExit(f"{error}; install what metarun needs, or name another Python: PYTHON=… {__file__}") from error
    if not dry and not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no CUDA device here; --dry runs a small form of everything on the CPU")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    found = {
        "metarun": package.__version__,
        "commit": commit.stdout.strip() or None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "gpu": None,
    }
    if not dry:
        properties = torch.cuda.get_device_properties(0)
        found |= {"gpu": properties.name, "gpu_memory_gib": round(properties.total_memory / 2**30, 1)}
        found |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return found


def write(folder: Path, content: dict[str, Any]) -> None:
    """The JSON and the Markdown file, each replaced as a whole."""
    for name, text in (("on_gpu.json", json.dumps(content, indent=1)), ("on_gpu.md", markdown(content))):
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=folder, delete=False) as file:
            file.write(text)
        Path(file.name).replace(folder / name)


def markdown(content: dict[str, Any]) -> str:
    """A summary: the machine, what became of each stage, the benchmark's rows, the curve of Omniglot."""
    lines = ["# metarun on a GPU", "", f"{content['when']}; {content['seconds']:.0f} s in all", ""]
    lines += [f"- {name}: {value}" for name, value in content["machine"].items()]
    lines += ["", "| stage | outcome | seconds |", "| --- | --- | --- |"]
    lines += [f"| {name} | {outcome(stage)} | {stage['seconds']:.0f} |" for name, stage in content["stages"].items()]
    rows = [stage for stage in content["stages"].values() if "variants" in stage]
    if rows:
        names = list(dict.fromkeys(name for row in rows for name in row["variants"]))
        lines += ["", "Milliseconds of a meta-step (median), and the distance from float64's meta-gradient.", ""]
        lines += [f"| row | {' | '.join(names)} | loop ÷ best |", "| --- |" + " --- |" * (len(names) + 1)]
        for row in rows:
            ratio = row["loop_over_best"]
            cells = [variant(row["variants"].get(name)) for name in names] + ["–" if ratio is None else f"{ratio:.1f}×"]
            lines.append(f"| {row['title']} | {' | '.join(cells)} |")
    trained = content["stages"].get("omniglot")
    if trained:
        lines += [
            "",
            f"MAML, 5-way 1-shot, {trained['data']}:",
            "",
            "| step | seconds | meta-val accuracy |",
            "| --- | --- | --- |",
        ]
        lines += [f"| {at['step']:,} | {at['seconds']:.1f} | {at['accuracy']:.4f} |" for at in trained["validations"]]
        if trained["result"]:
            figure = trained["result"]["meta_test"]["metrics"]["accuracy"]
            lines += ["", f"meta-test accuracy {figure['mean']:.4f} ± {figure['ci95']:.4f}"]
    return "\n".join([*lines, ""])


def outcome(stage: Result) -> str:
    if "tests" in stage:
        return f"{stage['tests']} tests, {stage['failures'] + stage['errors']} failed, {stage['skipped']} skipped"
    if stage["ok"]:
        return "done"
    return "out of time" if stage["exit"] is None else f"failed (exit code {stage['exit']})"


def variant(of: dict[str, Any] | None) -> str:
    if of is None:
        return ""
    if of["median"] is None:
        return of["fault"] or "not timed"
    return f"{1e3 * of['median']:.3g} ({of['difference']:.0e})"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/on_gpu"), help="folder (default %(default)s)")
    parser.add_argument("--omniglot", type=Path, help="folder with images_background.zip and images_evaluation.zip")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all stages (default %(default)s)")
    parser.add_argument("--only", help=f"stages, commas between: {', '.join(STAGES)}")
    parser.add_argument("--dry", action="store_true", help="a small form of everything on the CPU")
    given = parser.parse_args()
    given.stages = given.only.split(",") if given.only else list(DRY_STAGES if given.dry else STAGES)
    if unknown := [name for name in given.stages if name not in STAGES]:
        parser.error(f"--only {','.join(unknown)}: no such stage; choose from {', '.join(STAGES)}")
    if not 0 < given.minutes <= 60:
        parser.error("--minutes must be above 0 and at most 60")
    if given.omniglot is not None and not given.omniglot.is_dir():
        parser.error(f"--omniglot {given.omniglot}: no such folder")
    return given


def main() -> int:
    given = arguments()
    began = time.monotonic()
    given.out.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {
        "when": datetime.now().isoformat(timespec="seconds"),
        "machine": machine(given.dry),
        "seconds": 0.0,
        "stages": {},
    }
    folder = Path(tempfile.mkdtemp(prefix=datetime.now().strftime("%H%M%S-"), dir=given.out))
    omniglot_folder = given.omniglot.resolve() if given.omniglot else None
    session = Session(folder.resolve(), omniglot_folder, began + 60 * given.minutes, given.dry)

    def stopped(number: int, frame: object) -> None:
        session.end()
        raise SystemExit(130)

    signal.signal(signal.SIGTERM, stopped)
    signal.signal(signal.SIGINT, stopped)
    write(given.out, content)
    for name in given.stages:
        seconds, stage = STAGES[name]
        started = time.monotonic()
        if session.deadline - started < 10:
            print(f"{name}: no time left", flush=True)
            continue
        print(f"{name} ...", flush=True)
        found = stage(session, min(seconds, session.deadline - started))
        content["stages"][name] = {**found, "seconds": round(time.monotonic() - started, 1)}
        content["seconds"] = time.monotonic() - began
        write(given.out, content)
        print(f"{name}: {outcome(content['stages'][name])}", flush=True)
    print(f"\n{markdown(content)}\nWritten to {given.out}/on_gpu.json and on_gpu.md")
    return 0 if all(stage["ok"] for stage in content["stages"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
