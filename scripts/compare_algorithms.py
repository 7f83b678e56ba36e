"""Train and test every algorithm on the same tasks with the same number of meta-updates, over several seeds.

    scripts/compare_algorithms.py FOLDER [--only NAME,…] [--seeds 0,1,2] [--jobs 2] [--minutes N] [--costs]
                                         [--results FILE] [--write PAGE]

Three problems: sine waves 10-shot, and letters 5-way 1-shot and 5-shot. Runs go to FOLDER, one thread each, ``--jobs``
at a time, the first seed of everything first. What a run found is added to the results file, and a run that is in the
file with the same settings is not repeated; interrupted runs are resumed. So the command can be stopped and repeated,
and ``--minutes`` stops it by itself. The episodes of validation and test are the same for all seeds. With ``--costs``
each algorithm runs once more, alone, for a few meta-updates, for tasks per second and the peak memory of its process:
only on a machine that does nothing else. Prints a table in Markdown from the results file; with ``--write`` it also
replaces the table between the page's markers.
"""

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmark import machine
from comparisons.runs import Record, ResultsFile, Run, add_options, all_trained, read_options, replace_table

from metarun.report.statistics import over_seeds

ROOT = Path(__file__).resolve().parents[1]
LETTERS = [
    "dataset=glyphs", "model.channels=32", "engine.steps=400", "engine.val_every=200", "engine.val_episodes=50",
    "engine.checkpoint_every=100", "engine.test_episodes=600",
]  # fmt: skip
WAVES = [
    "dataset=sinusoid", "dataset.shots=10", "model=mlp", "engine.meta_batch_size=25", "engine.steps=10000",
    "engine.val_every=2500", "engine.checkpoint_every=1000", "engine.log_every=100",
]  # fmt: skip
PROBLEMS = {
    "sines 10-shot": WAVES,
    "letters 5-way 1-shot": [*LETTERS, "dataset.shots=1"],
    "letters 5-way 5-shot": [*LETTERS, "dataset.shots=5"],
}
COMMON = ["device.name=cpu", "device.threads=1", "device.compile=false", "tracking=scalars"]
SPEED_STEPS = 23
"""Meta-updates of a run for speed; the first three don't count."""
MARKERS = ("<!-- table by scripts/compare_algorithms.py -->", "<!-- end of table -->")

LETTERS_ONLY: dict[str, list[str]] = {
    "reptile": ["dataset.train_shots=10", "algorithm.test_steps=20"],
    "meml": ["dataset.train_shots=10", "algorithm.test_steps=20"],
}
"""What an algorithm needs on letters beside its defaults: Reptile trains on ten examples of a class in its paper."""
VARIANTS = {"metaopt ridge": ("metaopt", ["algorithm.head=ridge"])}
"""Rows that are no algorithm of their own."""


def main() -> None:
    given = arguments()
    runs = list(planned(given.folder, given.only, given.seeds))
    results = ResultsFile(given.results)
    all_trained(runs, results, given.jobs, given.minutes)
    if given.costs:
        for run in runs:
            record = results.get(run)
            if run.seed == given.seeds[0] and record is not None and "mean" in record and "cost" not in record:
                results.add(run, {**record, "cost": cost(run)})
    text = table(given.only, runs, results, len(given.seeds))
    print(text)
    if given.write is not None:
        replace_table(given.write, text, MARKERS)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kept = ROOT / "docs" / "algorithms" / "comparison.json"
    add_options(parser, "0,1,2", kept)
    parser.add_argument("--only", help="names of algorithms, with commas between")
    parser.add_argument("--costs", action="store_true", help="measure speed and memory, one run at a time")
    given = read_options(parser)
    everything = names()
    given.only = given.only.split(",") if given.only else everything
    for name in given.only:
        if name not in everything:
            parser.error(f"--only {name}: no such algorithm; there are {', '.join(everything)}")
    return given


def names() -> list[str]:
    """All algorithms that there are, and the variants."""
    options = ROOT / "conf" / "algorithm"
    return sorted([*(file.stem for file in options.glob("*.yaml")), *VARIANTS])


def planned(folder: Path, chosen: list[str], seeds: list[int]) -> Iterator[Run]:
    """All runs, those of the first seed first."""
    for seed in seeds:
        for problem, task in PROBLEMS.items():
            for name in chosen:
                algorithm, variant = VARIANTS.get(name, (name, []))
                own = [] if task is WAVES else LETTERS_ONLY.get(algorithm, [])
                overrides = [*COMMON, *task, f"algorithm={algorithm}", *own, *variant, f"seed={seed}"]
                place = folder / problem.replace(" ", "_") / name.replace(" ", "_") / f"seed{seed}"
                yield Run(name, problem, seed, place, overrides)


def cost(run: Run) -> Record:
    """Tasks per second and peak memory of a short run alone."""
    short = [f"engine.steps={SPEED_STEPS}", f"engine.val_every={SPEED_STEPS}", "engine.val_episodes=2"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        command = run.command(folder, *short, "engine.test_episodes=2")
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(command)}: failed")
        speed = json.loads((folder / "result.json").read_text(encoding="utf-8"))["train"]["tasks_per_second"]
    return {"tasks_per_second": speed, "mib": used.ru_maxrss / 1024, "cpu": machine()["cpu"]}


def table(chosen: list[str], runs: list[Run], results: ResultsFile, seeds: int) -> str:
    """Rows are algorithms; for each problem: the figure, tasks per second, MiB."""
    lines = ["| algorithm | " + " | ".join(f"{problem} | tasks/s | MiB" for problem in PROBLEMS) + " |"]
    lines.append("| --- |" + " --- | --- | --- |" * len(PROBLEMS))
    for name in chosen:
        cells = [f"`{name}`"]
        for problem in PROBLEMS:
            own = [run for run in runs if (run.name, run.problem) == (name, problem)]
            found = [record for record in map(results.get, own) if record is not None]
            spent = next((record["cost"] for record in found if "cost" in record), {})
            numbers = (spent.get("tasks_per_second"), spent.get("mib"))
            cells += [cell(found, seeds), *("" if number is None else f"{number:,.0f}" for number in numbers)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(found: list[Record], seeds: int) -> str:
    """The mean over seeds with its 95 % interval.

    In brackets the number of seeds where there are fewer than asked for, and how many diverged. ``†``: with some seed
    not significantly better than the best trivial baseline on the same episodes.
    """
    there = [record for record in found if "mean" in record]
    diverged = sum("diverged" in record for record in found)
    if not there:
        return "diverged" if diverged else "refused" if found else ""
    digits = 4 if there[0]["metric"] == "mse" else 3
    estimate = over_seeds([record["mean"] for record in there])
    text = f"{estimate.mean:.{digits}f}"
    if estimate.half is not None:
        text += f" ± {estimate.half:.{digits}f}"
    if not all(record["beats_baselines"] for record in there):
        text += " †"
    if len(there) < seeds:
        text += f" ({len(there)} seed{'s' if len(there) > 1 else ''}{f', {diverged} diverged' if diverged else ''})"
    return text


if __name__ == "__main__":
    main()
