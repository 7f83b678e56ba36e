"""Where a run comes from."""

import subprocess
import sys
from pathlib import Path

import pytest
from builders import settings

from metarun.runs.provenance import command, origin, revision


def git(folder: Path, *arguments: str) -> str:
    name = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    done = subprocess.run(["git", *name, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_revision_of_the_folder_one_stands_in(tmp_path: Path) -> None:
    assert revision(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert revision(tmp_path) is None, "nothing is committed"
    (tmp_path / "a.txt").write_text("one")
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "-q", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert revision(tmp_path) == commit
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "result.json").write_text("{}")
    assert revision(tmp_path) == commit, "what is not under version control is no change"
    (tmp_path / "a.txt").write_text("two")
    assert revision(tmp_path) == f"{commit}, with changes"


def test_where_there_is_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert revision(tmp_path) is None


def test_the_command_as_it_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/metarun", "dataset.root=my files", "algorithm=maml"])
    assert command(settings().plain, swept=False) == "metarun 'dataset.root=my files' algorithm=maml"
    told = origin(settings().plain, "torchrun -m ", swept=False)
    assert "* command: `torchrun -m metarun 'dataset.root=my files' algorithm=maml`\n" in told
    assert "\n* metarun: `" in told
    assert "\n* torch: `" in told
