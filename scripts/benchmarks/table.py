"""What was measured, as JSON and as tables in Markdown."""

import statistics
from dataclasses import asdict
from typing import Any

from benchmarks.measuring import Found
from benchmarks.processes import TITLES
from benchmarks.rows import BF16, COMPILED, COMPILED_GRAPHS, EAGER, GRAPHS, JAX, LOOP, SECTIONS, VARIANTS, Row

NAMES = {JAX: "JAX"}


def record(row: Row, found: dict[str, Found], floor: dict[str, Any]) -> dict[str, Any]:
    """All that was found of a row, with the ratios; times in seconds."""
    operations = floor["operations"][row.name]
    floors = {"float32": operations / floor["float32"], "bfloat16": operations / floor["bfloat16"]}
    variants = {variant: {**asdict(of), **_summary(of)} for variant, of in found.items()}
    times = {variant: of["median"] for variant, of in variants.items() if of["median"] is not None}
    best = min(
        (times[variant] for variant in (EAGER, GRAPHS, COMPILED, COMPILED_GRAPHS) if variant in times), default=None
    )
    ratios = {
        "loop_over_best": times[LOOP] / best if best and LOOP in times else None,
        "best_over_floor": best / floors["float32"] if best else None,
        "bf16_over_floor": times[BF16] / floors["bfloat16"] if BF16 in times else None,
    }
    named = {"row": row.name, "section": row.section, "title": row.title, "tasks": row.tasks}
    return {**named, "operations": operations, "floor": floors, "variants": variants, "best": best, **ratios}


def _summary(of: Found) -> dict[str, float | None]:
    if of.fault is not None or not of.seconds:
        return {"median": None, "least": None, "most": None}
    return {"median": statistics.median(of.seconds), "least": min(of.seconds), "most": max(of.seconds)}


def section(name: str, records: list[dict[str, Any]]) -> str:
    """Two tables of a section's rows: times, and memory with the time until ready."""
    variants = [variant for variant in VARIANTS if any(variant in each["variants"] for each in records)]
    called = [NAMES.get(variant, variant) for variant in variants]
    ratios = ["loop ÷ best", "best ÷ floor", "bf16 ÷ its floor", "best, ms a task"]
    lines = [f"### {SECTIONS[name]}", "", "Milliseconds of a meta-step: median (least–most).", ""]
    lines += _header(["", *called, "floor", "floor in bf16", *ratios])
    for each in records:
        cells = [_time(each["variants"].get(variant)) for variant in variants]
        cells += [_milliseconds(each["floor"][dtype]) for dtype in ("float32", "bfloat16")]
        cells += [_ratio(each[key]) for key in ("loop_over_best", "best_over_floor", "bf16_over_floor")]
        cells.append(_milliseconds(each["best"] / each["tasks"]) if each["best"] else "–")
        lines.append(_line([each["title"], *cells]))
    lines += ["", "MiB that a meta-step takes, and the seconds of the first, which compiles.", ""]
    lines += _header(["", *called])
    for each in records:
        lines.append(_line([each["title"], *(_cost(each["variants"].get(variant)) for variant in variants)]))
    return "\n".join([*lines, ""])


def processes(found: dict[int, list[float]], threads: int) -> str:
    """The table of several processes."""
    lines = ["### Processes", "", "Tasks a second of whole training runs, eager: median (least–most).", ""]
    lines += _header(["", "tasks/s"])
    for count, speeds in found.items():
        title = TITLES[count].format(threads=threads, half=max(1, threads // 2))
        told = f"{statistics.median(speeds):,.1f} ({min(speeds):,.1f}–{max(speeds):,.1f})"
        lines.append(_line([title, told]))
    return "\n".join([*lines, ""])


def note(records: list[dict[str, Any]]) -> str:
    """How far the meta-gradients are from exact, and what was not timed."""
    lines = []
    for variant in VARIANTS:
        differences = [of["difference"] for each in records if (of := each["variants"].get(variant))]
        told = [difference for difference in differences if difference is not None]
        if told:
            lines.append(
                f"- {NAMES.get(variant, variant)}: meta-gradients within {max(told):.1e} of float64's, relative."
            )
    for each in records:
        for variant, of in each["variants"].items():
            if of["fault"] is not None:
                lines.append(f"- {each['title']}, {NAMES.get(variant, variant)}: not timed: {of['fault']}")
    return "\n".join(lines)


def _time(of: dict[str, Any] | None) -> str:
    if of is None or of["median"] is None:
        return "–"
    median, least, most = (_milliseconds(of[key]) for key in ("median", "least", "most"))
    return f"{median} ({least}–{most})"


def _milliseconds(seconds: float) -> str:
    """Three digits, or more before the point."""
    value = 1e3 * seconds
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _cost(of: dict[str, Any] | None) -> str:
    return "–" if of is None or of["mib"] is None else f"{of['mib']:,.0f} MiB, {of['first']:.1f} s"


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}×"


def _header(cells: list[str]) -> list[str]:
    return [_line(cells), _line(["---"] * len(cells))]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
