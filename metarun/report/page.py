"""One HTML page with everything: tables, what is not done, paired tests and pictures, that loads nothing."""

import base64
import io
from collections.abc import Sequence
from html import escape

from metarun.report.comparison import Comparison
from metarun.report.figures import draw, save
from metarun.report.grouping import Group
from metarun.report.table import Table
from metarun.report.unfinished import Unfinished
from metarun.runs.texts import plain_texts

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }
h2 { font-size: 1.1rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #8884; }
th { border-bottom: 2px solid #8888; }
.name { text-align: left; }
.told { text-align: left; white-space: normal; }
.best { font-weight: 600; background: #2a72; }
.note { color: #777; font-size: .85rem; }
.failed { color: #c33; } .interrupted { color: #a70; } .running { color: #27a; }
img { max-width: 100%; background: white; margin: .5rem 0; display: block; }
code { font-size: .9em; overflow-wrap: anywhere; }
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What a browser may load for the page: nothing but what is in it."""


def page(
    groups: Sequence[Group],
    tables: Sequence[Sequence[Table]],
    stopped: Sequence[Unfinished],
    comparisons: Sequence[Comparison],
) -> str:
    """The whole page; every text of a user's is escaped. ``tables``: those of each group, its configurations first."""
    pictures: dict[int, list[str]] = {}
    with plain_texts():
        for number, group, name, figure in draw(groups):
            buffer = io.BytesIO()
            save(figure, buffer, "svg")
            data = base64.b64encode(buffer.getvalue()).decode("ascii")
            alt = escape(f"{name}: {group.title}")
            pictures.setdefault(number, []).append(f'<img alt="{alt}" src="data:image/svg+xml;base64,{data}">')
    parts = []
    for number, (table, *more) in enumerate(tables, 1):
        parts += [_group(table, pictures.get(number, [])), *(_group(one, []) for one in more)]
    parts += [_comparison(one) for one in comparisons]
    if stopped:
        parts.append(_stopped(stopped))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>metarun report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>metarun report</h1>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _group(table: Table, pictures: Sequence[str]) -> str:
    def kind(column: int) -> str:
        return ' class="name"' if column < table.names else ""

    head = "".join(f"<th{kind(column)}>{escape(name)}</th>" for column, name in enumerate(table.header))
    rows = []
    for number, row in enumerate(table.rows):
        cells = "".join(f"<td{kind(column)}>{escape(cell)}</td>" for column, cell in enumerate(row))
        rows.append(f'<tr class="best">{cells}</tr>' if number == table.best else f"<tr>{cells}</tr>")
    note = f"{table.note}; green: best by validation" if table.best is not None else table.note
    body = f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody>"
    return "\n".join(
        [
            f'<h2>{escape(table.title)}</h2>\n<div class="wide"><table>\n{body}\n</table></div>',
            f'<p class="note">{escape(note)}</p>',
            *pictures,
        ]
    )


def _comparison(one: Comparison) -> str:
    title, *lines = one.lines()
    return f"<h2>{escape(title)}</h2>\n<p>" + "<br>\n".join(escape(line.strip()) for line in lines) + "</p>"


def _stopped(stopped: Sequence[Unfinished]) -> str:
    rows = [
        f'<tr><td class="name {escape(one.status)}">{escape(one.status)}</td><td class="name">{escape(one.folder)}</td>'
        f'<td class="told">{escape(one.label)}</td><td class="told">{escape(one.reason)}</td>'
        f'<td class="told"><code>{escape(one.next)}</code></td></tr>'
        for one in stopped
    ]
    head = "".join(f'<th class="name">{name}</th>' for name in ("", "run", "settings", "reason", "next"))
    body = f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody>"
    return f'<h2>not done: {len(stopped):,}</h2>\n<div class="wide"><table>\n{body}\n</table></div>'
