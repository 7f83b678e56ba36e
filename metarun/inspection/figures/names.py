"""Names where there is little room."""

from textwrap import shorten


def short(name: str, letters: int) -> str:
    """A name in so many letters: its first words; the end of a single one, which tells a path from its neighbors."""
    words = shorten(name, letters, placeholder="…")
    return words if words != "…" else f"…{name[1 - letters :]}"
