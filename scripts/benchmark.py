"""Time and memory of the meta-step: metarun against a plain loop over tasks, the library higher, JAX, and arithmetic.

    scripts/benchmark.py [--only all|ROW,…] [--variants NAME,…] [--json FILE] [--device cuda]

Measures ∇φ of a meta-batch, no sampling and no outer optimizer, on made-up tasks. Every figure is from a process of its
own; those of a row take turns, so that noise hits all alike, once each has been shown to compute the gradient.
Prints tables in Markdown; with ``--json`` also writes all that was measured. The rows are in `benchmarks/rows.py`;
docs/speed.md says what the columns mean. `pip install 'metarun[benchmark]'` brings higher and JAX; without, their
columns are empty.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import measuring, processes, table
from benchmarks.rows import CUDA_ONLY, HIGHER, JAX, REFERENCE, ROWS, SECTIONS, STEPS, VARIANTS, Row

PROCESSES = "processes"
OPTIONAL = (HIGHER, JAX)


def main() -> None:
    given = arguments()
    began = time.perf_counter()
    how = measuring.How(given.device, given.threads, given.repeats, given.seconds, given.patience)
    rows = [row for row in ROWS if {row.name, row.section} & given.only]
    variants = available(given.variants, given.device)
    content: dict[str, Any] = {"machine": machine(), "threads": how.threads, "device": how.device, "rows": []}
    if rows:
        content["floor"] = floor = measuring.floor([row.name for row in rows], how)
        float32, bfloat16 = (f"{floor[dtype] / 1e9:,.0f} GFLOP/s in {dtype}" for dtype in ("float32", "bfloat16"))
        device = floor["gpu"] or f"{content['machine']['cpu']}, {how.threads} threads"
        print(f"{device}; products of matrices: {float32}, {bfloat16}\n", flush=True)
    for section in SECTIONS:
        records = [timed(row, variants, how, floor) for row in rows if row.section == section]
        if records:
            print(table.section(section, records), flush=True)
            content["rows"] += records
    if PROCESSES in given.only:
        steps, rounds = (15, 1) if given.quick else (50, min(3, how.repeats))
        found = processes.measured([1, 2], how.device, how.threads, rounds, steps)
        print(table.processes(found, how.threads))
        content["processes"] = {str(count): speeds for count, speeds in found.items()}
    print(table.note(content["rows"]))
    content["seconds"] = time.perf_counter() - began
    print(f"\n{content['seconds'] / 60:.1f} minutes in all", file=sys.stderr)
    if given.json is not None:
        given.json.write_text(json.dumps(content, indent=1), encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = {PROCESSES, *SECTIONS, *(row.name for row in ROWS)}
    sections = ", ".join([*SECTIONS, PROCESSES])
    parser.add_argument("--only", default=STEPS, help=f"all; or rows or sections ({sections}), commas between")
    parser.add_argument("--variants", help=f"some of {', '.join(VARIANTS)}, commas between; {REFERENCE} goes with all")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="of the CPU (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of turns (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn (default %(default)s); a step at least")
    parser.add_argument(
        "--patience", type=float, default=600.0, help="seconds for a variant to get ready (default %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="few steps, only to see that it works")
    parser.add_argument("--json", type=Path, help="file for all that was measured")
    given = parser.parse_args()
    given.only = names if given.only == "all" else chosen(parser, "--only", given.only, names)
    given.variants = chosen(parser, "--variants", given.variants, set(VARIANTS)) | {REFERENCE}
    if given.threads < 1 or given.repeats < 1 or given.seconds <= 0 or given.patience <= 0:
        parser.error("--threads, --repeats, --seconds and --patience must be positive")
    if given.quick:
        given.repeats, given.seconds = 2, 0.02
    return given


def chosen(parser: argparse.ArgumentParser, option: str, text: str | None, names: set[str]) -> set[str]:
    """The names between commas, or all."""
    picked = names if text is None else set(text.split(","))
    if picked - names:
        parser.error(f"{option} {','.join(sorted(picked - names))}: there are {', '.join(sorted(names))}")
    return picked


def available(variants: set[str], device: str) -> list[str]:
    """The variants that can be measured here, in the order of the table; prints which packages are missing."""
    if device != "cuda":
        variants = variants - set(CUDA_ONLY)
    lacking = {name for name in OPTIONAL if name in variants and importlib.util.find_spec(name) is None}
    for name in sorted(lacking):
        print(f"{name} is not installed: its column is left empty", file=sys.stderr)
    return [name for name in VARIANTS if name in variants - lacking]


def timed(row: Row, variants: list[str], how: measuring.How, floor: dict[str, Any]) -> dict[str, Any]:
    """A row's record."""
    print(f"{row.name} ...", file=sys.stderr, flush=True)
    found = measuring.measured(row, [name for name in variants if name in row.variants], how)
    for name, of in found.items():
        if of.fault is not None:
            print(f"{row.name}, {name}: not timed: {of.fault}", file=sys.stderr)
    return table.record(row, found, floor)


def machine() -> dict[str, str | None]:
    """What the figures depend on."""
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text(encoding="utf-8").splitlines() if cpus.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    found: dict[str, str | None] = {
        "cpu": models[0] if models else platform.processor(),
        "python": platform.python_version(),
    }
    for name in ("torch", *OPTIONAL):
        installed = importlib.util.find_spec(name) is not None
        found[name] = importlib.metadata.version(name) if installed else None
    return found


if __name__ == "__main__":
    main()
