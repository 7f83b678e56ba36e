"""Plain text in columns."""

from collections.abc import Container, Sequence


def columns(rows: Sequence[Sequence[str]], right: Container[int] = (), margin: int = 2) -> str:
    """Rows of as many cells each, a line for each, aligned to the left, or to the ``right`` in some columns.

    margin: spaces before each line.
    """
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((" " * margin + "   ".join(cells)).rstrip())
    return "\n".join(lines)
