"""The blocks of a page of the manual, so that a test can do what the page says."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).resolve().parents[2] / "docs"


class Block(NamedTuple):
    """A fenced block. file: the name in the line that names it before it, if there is one. line: where it begins."""

    language: str
    text: str
    file: str | None
    line: int


def blocks(page: str) -> list[Block]:
    """All blocks of ``docs/page`` that name their language, in order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    pattern = re.compile(r"(?:^`(?P<file>[^`\n]+)`:\n\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
    return [
        Block(found["language"], found["text"], found["file"], text.count("\n", 0, found.start()) + 1)
        for found in pattern.finditer(text)
    ]


def commands(block: Block) -> list[list[str]]:
    """The arguments of each line ``metarun …`` of a block."""
    lines = [shlex.split(line, comments=True) for line in block.text.splitlines()]
    assert all(line[0] == "metarun" for line in lines)
    return [line[1:] for line in lines]
