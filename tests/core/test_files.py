"""Atomic writing of files."""

import json
from math import inf, nan
from pathlib import Path

from metarun.core.files import write_json


def test_non_finite_numbers_become_null(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [1.5, nan, (inf, "x")], "b": {"c": -inf, "d": None, "e": 2}})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=lambda name: name) == {
        "a": [1.5, None, [None, "x"]],
        "b": {"c": None, "d": None, "e": 2},
    }
