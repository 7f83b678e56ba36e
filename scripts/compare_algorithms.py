"""Every algorithm on the same tasks with the same budget of meta-updates: accuracy or error, speed, memory.

    scripts/compare_algorithms.py FOLDER [--only NAME,…] [--jobs 2] [--scale 1.0]

Three problems: sine waves 10-shot, and letters 5-way 1-shot and 5-shot. Runs go to FOLDER, one thread each, ``--jobs``
at a time; what is there already is kept, so that the command can be stopped and given again. Then each
algorithm runs once more, alone, for a few meta-updates: for tasks a second, and for the most memory that its process
held. Prints a table in Markdown; the overrides behind each row are those in this file. ``--scale`` multiplies the
meta-updates.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metarun.checkpoint_files import saved

LETTERS = [
    "dataset=glyphs", "model.channels=32", "engine.steps=600", "engine.val_every=200", "engine.val_episodes=50",
    "engine.checkpoint_every=200", "engine.test_episodes=600",
]  # fmt: skip
WAVES = [
    "dataset=sinusoid", "dataset.shots=10", "model=mlp", "engine.meta_batch_size=25", "engine.steps=10000",
    "engine.val_every=2500", "engine.checkpoint_every=2500", "engine.log_every=100",
]  # fmt: skip
PROBLEMS = {
    "sines 10-shot": WAVES,
    "letters 5-way 1-shot": [*LETTERS, "dataset.shots=1"],
    "letters 5-way 5-shot": [*LETTERS, "dataset.shots=5", "engine.steps=300", "engine.val_every=100"],
}
COMMON = ["device.name=cpu", "device.threads=1", "device.compile=false"]
SPEED_STEPS = 23
"""Meta-updates of a run for speed; the first three don't count."""

GRADIENT_STEP = ["algorithm.inner_lr=0.01"]
"""The inner step size of Finn et al. 2017 for sine waves."""
ONE_STEP = [*GRADIENT_STEP, "algorithm.outer.lr=0.001"]
SINES: dict[str, list[str]] = {
    "maml": ONE_STEP,
    "fomaml": ONE_STEP,
    "meta_sgd": ["algorithm.outer.lr=0.001"],
    "meta_curvature": ONE_STEP,
    "anil": [*GRADIENT_STEP, "algorithm.outer.lr=0.001"],
    "boil": ONE_STEP,
    "maml_pp": [*ONE_STEP, "algorithm.inner_steps=1"],
    "mbml": ONE_STEP,
    "imaml": [
        "algorithm.inner_lr=0.001",
        "algorithm.inner_steps=40",
        "algorithm.proximal=20",
        "algorithm.damping=20",
        "algorithm.outer.lr=0.0003",
        "engine.gradient_clip=1",
    ],
    "cavia": ["algorithm.outer.lr=0.001"],
    "scratch": GRADIENT_STEP,
    "finetune": GRADIENT_STEP,
}
"""What an algorithm needs on sine waves beside its defaults, which are for letters: mostly step sizes of the papers.

iMAML's outer loop does not see where its inner loop begins to diverge, hence small steps and a strong pull to the
start; MAML++ diverges with five steps.
"""
INTERPOLATING = [
    "algorithm.inner_optimiser.name=sgd", "algorithm.inner_lr=0.01", "algorithm.inner_steps=10",
    "algorithm.test_steps=10", "algorithm.test_minibatch=10", "algorithm.outer.lr=0.1",
]  # fmt: skip
SINES |= {"reptile": INTERPOLATING, "meml": INTERPOLATING}
LETTERS_ONLY: dict[str, list[str]] = {
    "reptile": ["dataset.train_shots=10", "algorithm.test_steps=20"],
    "meml": ["dataset.train_shots=10", "algorithm.test_steps=20"],
    "cavia": ["algorithm.contexts=100", "algorithm.inner_steps=2"],
}
"""The same for letters: Reptile trains on ten examples of a class in its paper, CAVIA has many numbers of context."""
VARIANTS = {"metaopt ridge": ("metaopt", ["algorithm.head=ridge"])}
"""Rows that are no algorithm of their own."""


@dataclass(frozen=True)
class Run:
    """One run: an algorithm (or variant) on a problem."""

    name: str
    problem: str
    folder: Path
    overrides: list[str]

    def command(self, folder: Path, *more: str) -> list[str]:
        return [sys.executable, "-m", "metarun", *self.overrides, *more, f"hydra.run.dir={folder}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", help="names of algorithms, with commas between")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--scale", type=float, default=1.0, help="times the meta-updates")
    given = parser.parse_args()
    everything = names()
    chosen = given.only.split(",") if given.only else everything
    for name in chosen:
        if name not in everything:
            parser.error(f"--only {name}: no such algorithm; there are {', '.join(everything)}")
    if given.jobs < 1 or given.scale <= 0:
        parser.error("--jobs and --scale must be positive")
    runs = list(planned(given.folder, chosen, given.scale))
    with ThreadPoolExecutor(given.jobs) as pool:
        results = dict(zip(((run.name, run.problem) for run in runs), pool.map(trained, runs), strict=True))
    costs = {(run.name, run.problem): cost(run) for run in runs if results[run.name, run.problem]}
    print(table(chosen, results, costs))


def names() -> list[str]:
    """All algorithms that there are, and the variants."""
    options = Path(__file__).parents[1] / "conf" / "algorithm"
    return sorted([*(file.stem for file in options.glob("*.yaml")), *VARIANTS])


def planned(folder: Path, chosen: list[str], scale: float) -> Iterator[Run]:
    for problem, task in PROBLEMS.items():
        for name in chosen:
            algorithm, variant = VARIANTS.get(name, (name, []))
            own = (SINES if "dataset=sinusoid" in task else LETTERS_ONLY).get(algorithm, [])
            overrides = [*COMMON, *task, f"algorithm={algorithm}", *own, *variant]
            *_, steps = (int(item.partition("=")[2]) for item in task if item.startswith("engine.steps="))
            overrides.append(f"engine.steps={max(1, round(scale * steps))}")
            yield Run(name, problem, folder / problem.replace(" ", "_") / name.replace(" ", "_"), overrides)


def trained(run: Run) -> dict[str, Any] | None:
    """The run's result; ``None`` where there is none: the algorithm refuses such tasks, or diverges on them."""
    result = run.folder / "result.json"
    if not result.exists():
        resumable = bool(saved(run.folder))
        command = [sys.executable, "-m", "metarun", f"resume={run.folder}"] if resumable else run.command(run.folder)
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 2:
            print(f"{run.name}, {run.problem}: {last_line(done.stderr)}", file=sys.stderr)
            return None
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{last_line(done.stderr)}")
    content: dict[str, Any] = json.loads(result.read_text())
    steps = content["train"]["steps"]
    if steps and f"engine.steps={steps}" != run.overrides[-1]:
        raise SystemExit(f"{run.folder}: has {steps} meta-updates, not {run.overrides[-1]}; give another folder")
    told = content["meta_test"]["metrics"][content["metric"]]
    print(f"{run.name}, {run.problem}: {told['mean']:.4f} ± {told['ci95']:.4f}", file=sys.stderr, flush=True)
    return content


def cost(run: Run) -> tuple[float | None, float]:
    """Tasks per second, and the most memory in MiB, of a short run alone; kept beside the run's folder."""
    kept = run.folder.with_name(f"{run.folder.name}.json")
    if kept.exists():
        speed, memory = json.loads(kept.read_text())
        return speed, memory
    short = [f"engine.steps={SPEED_STEPS}", f"engine.val_every={SPEED_STEPS}", "engine.val_episodes=2"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        command = run.command(folder, *short, "engine.test_episodes=2")
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(command)}: failed")
        speed = json.loads((folder / "result.json").read_text())["train"]["tasks_per_second"]
    memory = used.ru_maxrss / 1024
    kept.write_text(json.dumps([speed, memory]))
    return speed, memory


def table(
    chosen: list[str],
    results: dict[tuple[str, str], dict[str, Any] | None],
    costs: dict[tuple[str, str], tuple[float | None, float]],
) -> str:
    """Rows are algorithms; for each problem: the figure, tasks per second, MiB."""
    lines = ["| algorithm | " + " | ".join(f"{problem} | tasks/s | MiB" for problem in PROBLEMS) + " |"]
    lines.append("| --- |" + " --- | --- | --- |" * len(PROBLEMS))
    for name in chosen:
        cells = [f"`{name}`"]
        for problem in PROBLEMS:
            result = results[name, problem]
            if result is None:
                cells += ["–", "", ""]
                continue
            figure = result["meta_test"]["metrics"][result["metric"]]
            speed, memory = costs[name, problem]
            digits = 4 if result["metric"] == "mse" else 3
            cells += [
                f"{figure['mean']:.{digits}f} ± {figure['ci95']:.{digits}f}",
                "" if speed is None else f"{speed:,.0f}",
                f"{memory:,.0f}",
            ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "(nothing said)"


if __name__ == "__main__":
    main()
