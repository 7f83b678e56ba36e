"""Files are replaced whole."""

import json
import os
from pathlib import Path

import pytest

from metarun.core.files import write_json
from metarun.runs.status import write_status


def test_status_holds_its_facts(tmp_path: Path) -> None:
    write_status(tmp_path, "failed", reason="no “data”")
    status = json.loads((tmp_path / "status.json").read_text(encoding="utf-8"))
    assert (status["status"], status["reason"]) == ("failed", "no “data”")
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "a.json", 1)

    def full(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        write_json(tmp_path / "a.json", 2)
    assert json.loads((tmp_path / "a.json").read_text()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
