"""Whether the defaults hold: every dataset with every algorithm and some hypernetworks, from bare commands.

    scripts/compare_defaults.py FOLDER [--datasets NAME,…] [--algorithms NAME,…] [--hypernets NAME,…] [--seeds 0]
                                       [--jobs 2] [--minutes N] [--results FILE] [--write PAGE]

Nothing is set but the budget: how long to train, and how many episodes to measure on. For each dataset a table in
Markdown has the meta-test figure of each composition, beside the trivial baselines on the same episodes, and marks what
is no better than doing nothing. What a run found is kept in the results file, and a run that is there with the same
settings is not repeated, so the command can be stopped and repeated. Tables are made of all that the file has; with
``--write`` they replace those between the page's markers.
"""

import argparse
import csv
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

from comparisons.runs import Record, ResultsFile, Run, add_options, all_trained, read_options, replace_table

from metarun.report.statistics import over_seeds

ROOT = Path(__file__).resolve().parents[1]
BUDGET = [
    "engine.steps=300", "engine.val_every=100", "engine.val_episodes=50", "engine.test_episodes=200",
    "device.name=cpu", "device.threads=1", "tracking=scalars",
]  # fmt: skip
DATASETS = {
    "sinusoid": ["dataset=sinusoid", "model=mlp"],
    "harmonics": ["dataset=harmonics", "model=mlp"],
    "regression_families": ["dataset=regression_families", "model=mlp"],
    "polynomials": ["dataset=polynomials", "model=mlp"],
    "table": ["dataset=table", "dataset.task=subject", "dataset.target=score", "model=mlp"],
    "glyphs": [],
}
HYPERNETS = {
    "none": [],
    "film": ["hypernet=film", "embedding=support"],
    "lowrank": ["hypernet=lowrank", "embedding=support"],
}
MARKERS = ("<!-- tables by scripts/compare_defaults.py -->", "<!-- end of tables -->")


def main() -> None:
    given = arguments()
    runs = list(planned(given.folder, given.datasets, given.algorithms, given.hypernets, given.seeds))
    results = ResultsFile(given.results)
    all_trained(runs, results, given.jobs, given.minutes)
    text = tables(runs, results)
    print(text)
    if given.write is not None:
        replace_table(given.write, text, MARKERS)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kept = ROOT / "docs" / "defaults.json"
    add_options(parser, "0", kept)
    for name, options in (("datasets", list(DATASETS)), ("algorithms", algorithms()), ("hypernets", list(HYPERNETS))):
        parser.add_argument(f"--{name}", default=",".join(options), help="with commas between (default: all)")
    given = read_options(parser)
    for name, options in (("datasets", DATASETS), ("algorithms", algorithms()), ("hypernets", HYPERNETS)):
        picked = getattr(given, name).split(",")
        if unknown := [option for option in picked if option not in options]:
            parser.error(f"--{name} {unknown[0]}: choose from {', '.join(options)}")
        setattr(given, name, picked)
    return given


def algorithms() -> list[str]:
    return sorted(file.stem for file in (ROOT / "conf" / "algorithm").glob("*.yaml"))


def planned(
    folder: Path, datasets: list[str], chosen: list[str], hypernets: list[str], seeds: list[int]
) -> Iterator[Run]:
    """All runs; a `Run`'s problem is the dataset, its name the algorithm and the hypernetwork."""
    for seed in seeds:
        for dataset in datasets:
            data = list(DATASETS[dataset])
            if dataset == "table":
                # Relative, for the results file keeps the settings and is shared.
                data.append(f"dataset.path={os.path.relpath(table_of_subjects(folder))}")
            for hypernet in hypernets:
                for algorithm in chosen:
                    place = folder / dataset / f"{algorithm}-{hypernet}-{seed}"
                    overrides = [*BUDGET, *data, f"algorithm={algorithm}", *HYPERNETS[hypernet], f"seed={seed}"]
                    yield Run(f"{algorithm} {hypernet}", dataset, seed, place, overrides)


def table_of_subjects(folder: Path) -> Path:
    """A table as users have them: 40 subjects measured 30 to 60 times, each subject with its own offset and slopes."""
    path = folder / "subjects.csv"
    if path.exists():
        return path
    draw = Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["subject", "age", "dose", "hours", "score"])
        for subject in range(40):
            age, offset = draw.uniform(40, 80), draw.gauss(30, 10)
            dose_slope, hour_slope = draw.gauss(2, 1), draw.gauss(0, 0.5)
            for _ in range(draw.randint(30, 60)):
                dose, hours = draw.uniform(0, 5), draw.uniform(0, 24)
                score = offset + dose_slope * dose + hour_slope * hours + 0.1 * (age - 60) + draw.gauss(0, 1)
                writer.writerow([f"s{subject:02}", *(f"{value:.3f}" for value in (age, dose, hours, score))])
    return path


def tables(runs: list[Run], results: ResultsFile) -> str:
    """A table for each dataset: rows are algorithms, columns hypernetworks."""
    parts = []
    for dataset in dict.fromkeys(run.problem for run in runs):
        own = [run for run in runs if run.problem == dataset]
        records = {run.key: record for run in own if (record := results.get(run)) is not None}
        measured = [record for record in records.values() if "mean" in record]
        if not measured:
            continue
        metric = measured[0]["metric"]
        trivial = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in measured[0]["baselines"].items())
        names = list(dict.fromkeys(run.name.split()[1] for run in own))
        parts += [f"**{dataset}**, {metric} (the trivial baselines on the same episodes: {trivial})", ""]
        parts.append(f"| algorithm | {' | '.join(f'`hypernet={name}`' for name in names)} |")
        parts.append("| --- |" + " --- |" * len(names))
        for algorithm in dict.fromkeys(run.name.split()[0] for run in own):
            rows = [[run for run in own if run.name == f"{algorithm} {name}"] for name in names]
            cells = [cell([records[run.key] for run in row if run.key in records]) for row in rows]
            parts.append(f"| `{algorithm}` | {' | '.join(cells)} |")
        parts.append("")
    return "\n".join(parts).rstrip()


def cell(found: list[Record]) -> str:
    """The mean over seeds. ``‡``: with some seed worse after adaptation than before it, beyond the test's interval;
    ``†``: with some seed not significantly better than the best trivial baseline."""
    there = [record for record in found if "mean" in record]
    if not there:
        return "diverged" if any("diverged" in record for record in found) else "–" if found else ""
    estimate = over_seeds([record["mean"] for record in there])
    text = f"{estimate.mean:.4g}" if estimate.half is None else f"{estimate.mean:.4g} ± {estimate.half:.2g}"
    if any(worse_than_before(record) for record in there):
        text += " ‡"
    if not all(record["beats_baselines"] for record in there):
        text += " †"
    return f"{text} ({len(found) - len(there)} diverged)" if len(found) > len(there) else text


def worse_than_before(record: Record) -> bool:
    gain, interval = record["mean"] - record["before"], record["ci95"] or 0  # a single task has none
    return (gain if record["higher_is_better"] else -gain) < -interval


if __name__ == "__main__":
    main()
