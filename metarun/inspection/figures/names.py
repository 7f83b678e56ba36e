"""Abbreviated names."""

from textwrap import shorten


def abbreviate(name: str, letters: int) -> str:
    """A name in at most ``letters`` letters: its first words, or the end of a single word, such as a path."""
    words = shorten(name, letters, placeholder="…")
    return words if words != "…" else f"…{name[1 - letters :]}"
