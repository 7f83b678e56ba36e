"""Color on a terminal, and none elsewhere."""

import os
from typing import Literal, TextIO

_CODES = {"red": 31, "green": 32, "yellow": 33}


def colored(text: str, color: Literal["red", "green", "yellow"], stream: TextIO) -> str:
    """The text as ``stream`` is to show it: in color on a terminal, unless NO_COLOR is set (https://no-color.org)."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_CODES[color]}m{text}\x1b[0m"
