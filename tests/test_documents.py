"""Documented examples work: the pages on Python, user-defined parts and test data sets are executed block by block."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from documents import blocks, commands

Command = Callable[..., tuple[int, str, str]]


pytestmark = pytest.mark.usefixtures("user_modules")


@pytest.mark.parametrize(
    ("page", "files", "programs"), [("python.md", 0, 4), ("user_parts.md", 18, 1), ("test_datasets.md", 1, 0)]
)
def test_a_page_is_true(command: Command, page: str, files: int, programs: int) -> None:
    names: dict[str, Any] = {}
    done = {"files": 0, "programs": 0}
    for block in blocks(page):
        if block.file is not None:
            file = Path(block.file)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
            done["files"] += 1
        elif block.language == "sh":
            for arguments in commands(block):
                code, _, err = command(*arguments, *_small(arguments))
                assert code == 0, (arguments, err)
        elif block.language == "python":
            exec(compile(block.text, f"docs/{page}, line {block.line}", "exec"), names)
            done["programs"] += 1
    assert done == {"files": files, "programs": programs}


def _small(arguments: list[str]) -> list[str]:
    """What a test adds, so as not to depend on the machine."""
    return [] if "mode=test" in arguments else ["device.name=cpu", "device.threads=1"]
