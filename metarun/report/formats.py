"""Tables for other programs and for papers: CSV, Markdown and LaTeX."""

import csv
import io
import re
from collections.abc import Sequence

from metarun.core.names import shown
from metarun.report import baseline_columns
from metarun.report.grouping import Configuration, Group
from metarun.report.runs import STAGES
from metarun.report.table import Table, counted
from metarun.report.text import clean

SIZES = ("theta", "theta made", "phi", "phi theta", "phi embedding", "phi hypernet", "phi algorithm")
"""The counts of parameters in a run's result."""
BEST = "*"
"""What marks the best row by validation where there is no bold type."""


def csv_text(groups: Sequence[Group]) -> str:
    """A row for each configuration with full names of keys and numbers in full; a group's metrics are told as they are.

    Columns: ``problem``, the keys that vary in any group, ``metric``, ``seeds``, figures of each stage with half-widths
    over episodes and over seeds, ``best`` (1 or 0), why seeds have no figure (``no_figure``), the calibration error
    and the best trivial baseline with whether all seeds beat it (``baseline_beaten``), numbers of parameters
    (``metarun.training.sizes``), seconds, tasks_per_second, and the runs' folders.
    """
    names = list(dict.fromkeys(key for group in groups for key in group.keys))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    figures = [f"{stage}{end}" for stage in STAGES for end in ("", "_ci95_episodes", "_ci95_seeds")]
    sizes = [f"parameters_{name.replace(' ', '_')}" for name in SIZES]
    ends = ["best", "no_figure", *baseline_columns.CSV, *sizes, "seconds", "tasks_per_second", "runs"]
    writer.writerow(["problem", *names, "metric", "seeds", *figures, *ends])
    for group in groups:
        for one in group.configurations:
            # A key that does not vary in this group has its value all the same.
            settings = one.first.settings
            values = [clean(shown(settings[key])) if key in settings else "" for key in names]
            for metric in group.metrics:
                writer.writerow([clean(group.title), *values, metric, *_numbers(group, one, metric)])
    return text.getvalue()


def _numbers(group: Group, one: Configuration, metric: str) -> list[object]:
    found: list[object] = [" ".join(clean(shown(run.seed)) for run in one.runs)]
    for stage in STAGES:
        episodes, seeds = one.over_episodes(stage, metric), one.over_seeds(stage, metric)
        found += [None if episodes is None else episodes.mean, None if episodes is None else episodes.half]
        found.append(None if seeds is None else seeds.half)
    folders = ";".join(clean(run.folder) for run in one.runs)
    lacking, sizes = counted(one.lacking("meta_test", metric)), map(one.first.parameters, SIZES)
    speed = one.training("seconds"), one.training("tasks_per_second")
    return [*found, int(one is group.best), lacking, *baseline_columns.csv_cells(one), *sizes, *speed, folders]


def markdown(tables: Sequence[Table]) -> str:
    """A heading and a table for each group; the best row by validation in bold type."""
    parts = []
    for table in tables:
        lines = [f"### {_md(table.title)}", "", _md_row(map(_md, table.header))]
        lines.append(_md_row("---" if column < table.names else "---:" for column in range(len(table.header))))
        for number, row in enumerate(table.rows):
            cells = map(_md, row)
            lines.append(_md_row(f"**{cell}**" if number == table.best and cell else cell for cell in cells))
        lines += ["", _md(_below(table, "bold"))]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def latex(tables: Sequence[Table]) -> str:
    """A ``tabular`` for each group, the best row by validation in bold type; needs the package booktabs."""
    parts = ["% \\usepackage{booktabs}"]
    for table in tables:
        columns = "".join("l" if column < table.names else "r" for column in range(len(table.header)))
        lines = [f"% {table.title}", f"\\begin{{tabular}}{{{columns}}}", "\\toprule", _tex_row(map(_tex, table.header))]
        lines.append("\\midrule")
        for number, row in enumerate(table.rows):
            lines.append(_tex_row(f"\\textbf{{{_tex(cell)}}}" if number == table.best else _tex(cell) for cell in row))
        lines += ["\\bottomrule", "\\end{tabular}", f"% {_below(table, 'bold')}"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _below(table: Table, mark: str) -> str:
    return f"{table.note}; {mark}: best by validation" if table.best is not None else table.note


def _md_row(cells: "Sequence[str] | object") -> str:
    return f"| {' | '.join(cells)} |"  # type: ignore[arg-type]


def _md(text: str) -> str:
    """A text as it is, in Markdown."""
    return re.sub(r"([\\`*_\[\]<>|~#&$!])", r"\\\1", text)


def _tex_row(cells: "Sequence[str] | object") -> str:
    return f"{' & '.join(cells)} \\\\"  # type: ignore[arg-type]


_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "–": "--",
    "�": "?",
    "θ": r"$\theta$",
    "φ": r"$\varphi$",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


def _tex(text: str) -> str:
    """A text as it is, in LaTeX."""
    return "".join(_TEX.get(letter, letter) for letter in text)
