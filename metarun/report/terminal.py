"""A report on the terminal, or in a pipe: aligned text, with rich where it is installed and someone looks."""

import importlib.util
from collections.abc import Sequence
from typing import TextIO

from metarun.report.formats import BEST
from metarun.report.table import Table
from metarun.report.unfinished import Unfinished

COLORS = {"failed": "red", "interrupted": "yellow", "running": "cyan"}


def show(tables: Sequence[Table], stopped: Sequence[Unfinished], lines: Sequence[str], out: TextIO) -> None:
    """Print tables, then what is not done, then single lines."""
    if out.isatty() and importlib.util.find_spec("rich") is not None:
        _rich(tables, stopped, lines, out)
        return
    parts = [
        *map(plain_table, tables),
        *([plain_list(stopped)] if stopped else []),
        *(["\n".join(lines)] if lines else []),
    ]
    print("\n\n".join(parts), file=out)


def plain_table(table: Table) -> str:
    """A table as aligned text. A star before a row marks the best by validation."""
    marks = [BEST if number == table.best else " " for number in range(len(table.rows))]
    lines = [
        table.title,
        *_aligned(
            [[" ", *table.header], *([mark, *row] for mark, row in zip(marks, table.rows, strict=True))],
            table.names + 1,
        ),
    ]
    star = f"{BEST} best by validation; " if table.best is not None else ""
    return "\n".join([*lines, f"  {star}{table.note}"])


def plain_list(stopped: Sequence[Unfinished]) -> str:
    """What is not done: which, and below each why and what to do."""
    rows = _aligned([["", one.status, one.folder, one.label] for one in stopped], 4)
    lines = [f"not done: {len(stopped):,}"]
    for row, one in zip(rows, stopped, strict=True):
        lines += [row, *(f"      {line}" for line in (one.reason, one.next) if line)]
    return "\n".join(lines)


def _aligned(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Rows as lines: the first ``left`` columns to the left, others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _rich(tables: Sequence[Table], stopped: Sequence[Unfinished], lines: Sequence[str], out: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(file=out, highlight=False)
    for table in tables:
        drawn = RichTable(
            box=box.SIMPLE_HEAD, title=Text(table.title, style="bold"), title_justify="left", pad_edge=False
        )
        drawn.add_column("")
        for place, name in enumerate(table.header):
            drawn.add_column(Text(name), justify="left" if place < table.names else "right")
        for number, row in enumerate(table.rows):
            best = number == table.best
            drawn.add_row(BEST if best else "", *map(Text, row), style="bold green" if best else None)
        console.print(drawn)
        star = f"{BEST} best by validation; " if table.best is not None else ""
        console.print(Text(f"  {star}{table.note}\n", style="dim"))
    if stopped:
        console.print(Text(f"not done: {len(stopped):,}", style="bold"))
        for one in stopped:
            told = Text("  ").append(one.status, style=COLORS.get(one.status, ""))
            console.print(told.append(f"  {one.folder}  {one.label}"), soft_wrap=True)
            for line in filter(None, (one.reason, one.next)):
                console.print(Text(f"      {line}", style="dim"), soft_wrap=True)
        console.print()
    for line in lines:
        console.print(Text(line), soft_wrap=True)
