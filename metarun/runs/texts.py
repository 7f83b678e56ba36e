"""Literal text in figures."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib


@contextmanager
def plain_texts() -> Iterator[None]:
    """Within, a dollar sign in a text is a dollar sign, not the beginning of a formula, and letters that the font lacks
    give no warning. Figures must be both made and drawn within, since matplotlib makes some texts as it draws.
    """
    settings: Any = {"text.usetex": False, "text.parse_math": False, "svg.hashsalt": "metarun"}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Glyph.*")
        yield
