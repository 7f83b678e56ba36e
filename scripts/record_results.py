#!/usr/bin/env python
"""The recorded results of the experiments in conf/experiment: in their heads and in docs/results.md.

    scripts/record_results.py [RUN_FOLDER ...] [--machine "two cores of a server CPU"]

Adds finished runs of experiments, as they are but for the seed, the device and where the data lie, to
docs/results.json. A run replaces the record of the same experiment, seed and machine. Then writes what is recorded into
the head of each conf/experiment/*.yaml and into the table of docs/results.md. Without a run folder it only writes.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from benchmark import machine
from comparisons.runs import replace_table

from metarun.config.compose import compose, plain
from metarun.core.errors import UserError
from metarun.core.files import write_text
from metarun.runs.files import CONFIG, RESULT, STATUS
from metarun.runs.numbers import decimal

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "docs" / "results.json"
PAGE = ROOT / "docs" / "results.md"
MARKERS = ("<!-- table by scripts/record_results.py -->", "<!-- end of table -->")
EXPERIMENTS = ROOT / "conf" / "experiment"
BEGINS = "# Expected result"
"""How the part of a head begins that this script writes. It is the last part of the head."""
FREE = ("seed", "mode", "checkpoint", "resume", "choices", "followed", "device", "tracking", "hpo")
FREE_KEYS = ("dataset.root", "dataset.path", "dataset.download", "dataset.url")
"""What may differ from the experiment: the seed, the machine, and where the data lie."""

Record = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("--machine", help="in words; default: the name of this machine's processor")
    given = parser.parse_args()
    try:
        added = [record(run, given.machine or f"one {machine()['cpu']}") for run in given.runs]
    except UserError as error:
        sys.exit(f"record_results: {error}")
    records = [one for one in read() if not any(same(one, new) for new in added)] + added
    records.sort(key=lambda one: (one["experiment"], one["machine"], one["seed"]))
    if added:
        write_text(RECORDS, json.dumps(records, indent=1, ensure_ascii=False) + "\n")
    for file, text in heads(records):
        write_text(file, text)
    replace_table(PAGE, table(records), MARKERS)


def read() -> list[Record]:
    """All that is recorded."""
    found: list[Record] = json.loads(RECORDS.read_text(encoding="utf-8"))
    return found


def same(one: Record, other: Record) -> bool:
    """Whether two records are of the same experiment, seed and machine."""
    return all(one[key] == other[key] for key in ("experiment", "seed", "machine"))


def record(run: Path, on: str) -> Record:
    """What is kept of a run. Raises `UserError` if it is unfinished, or no run of an experiment as it is."""
    try:
        config = yaml.safe_load((run / CONFIG).read_text(encoding="utf-8"))
        content, status = (json.loads((run / name).read_text(encoding="utf-8")) for name in (RESULT, STATUS))
    except OSError as error:
        raise UserError(f"{run}: not a finished run: {error.filename} cannot be read") from error
    experiment = config["choices"].get("experiment")
    if experiment is None:
        raise UserError(f"{run}: not a run of an experiment; start it with experiment=NAME")
    composed = compose([f"experiment={experiment}"])
    wanted = dict(leaves(plain(composed, composed.hydra.runtime.choices)))
    found = dict(leaves(config))
    if other := [key for key in sorted(wanted | found) if wanted.get(key) != found.get(key)]:
        raise UserError(f"{run}: differs from experiment={experiment} in {', '.join(other)}; run it without these")
    metric, training = content["metric"], content["train"]
    figure = content["meta_test"]["metrics"][metric]
    return {
        "experiment": experiment,
        "seed": config["seed"],
        "machine": on,
        "device": training["device"],
        "threads": training["threads"],
        "metric": metric,
        "mean": figure["mean"],
        "ci95": figure["ci95"],
        "episodes": figure["episodes"],
        "minutes": round(training["seconds"] / 60, 2),
        "date": status["time"][:10],
        "settings": digest(experiment),
        "versions": {name: content["versions"][name] for name in ("metarun", "torch")},
    }


def digest(experiment: str) -> str:
    """A hash of what an experiment's file sets: a record of other settings is out of date."""
    content = yaml.safe_load((EXPERIMENTS / f"{experiment}.yaml").read_text(encoding="utf-8"))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The keys that an experiment decides, in full, with their values."""
    for name, value in node.items():
        key = f"{prefix}{name}"
        if key in (*FREE, *FREE_KEYS):
            continue
        if isinstance(value, Mapping):
            yield from leaves(value, f"{key}.")
        else:
            yield key, value


def heads(records: list[Record]) -> Iterator[tuple[Path, str]]:
    """Every experiment's file, and its text with the recorded results in its head."""
    for file in sorted(EXPERIMENTS.glob("*.yaml")):
        lines = file.read_text(encoding="utf-8").splitlines()
        size = next(number for number, line in enumerate(lines) if not line.startswith("#"))
        head = lines[:size]
        if (begins := [number for number, line in enumerate(head) if line.startswith(BEGINS)]) != []:
            head = head[: begins[0]]
        mine = [one for one in records if one["experiment"] == file.stem]
        yield file, "\n".join([*head, *expected(file.stem, mine), *lines[size:]]) + "\n"


def expected(experiment: str, records: list[Record]) -> list[str]:
    """The lines of a head."""
    if not records:
        earlier = f"experiment={experiment}" in PAGE.read_text(encoding="utf-8").partition(MARKERS[1])[2]
        return [f"{BEGINS}: not recorded yet{'; docs/results.md has that of an earlier version' * earlier}."]
    return [f"{BEGINS} on meta-test, with time of meta-training:", *(f"#   {told(one)}" for one in records)]


def told(one: Record) -> str:
    """A record in one line."""
    threads = "" if one["device"] != "cpu" else f", {one['threads']} thread{'s' * (one['threads'] > 1)}"
    return f"seed {one['seed']}: {one['metric']} {figure(one)}, {one['minutes']:.1f} min ({one['machine']}{threads})"


def figure(one: Record) -> str:
    return f"{decimal(one['mean'])} ± {decimal(one['ci95'])}"


def table(records: list[Record]) -> str:
    """All that is recorded, in Markdown."""
    lines = [
        "| `metarun experiment=` | seed | meta-test | episodes | minutes | machine | threads | PyTorch | date |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in records:
        threads = one["threads"] if one["device"] == "cpu" else ""
        cells = (
            f"`{one['experiment']}`", one["seed"], f"{one['metric']} {figure(one)}", f"{one['episodes']:,}",
            f"{one['minutes']:.1f}", one["machine"], threads, one["versions"]["torch"].partition("+")[0], one["date"],
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
