"""Pickles that hold plain values only."""

import os
import pickle
from pathlib import Path

import pytest

from metarun.core.errors import UserError
from metarun.datasets.score_tables import plain_pickle


def test_plain_values(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, "text", True], "b": {"c": (1,)}}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(value))
    assert plain_pickle.read(tmp_path / "x.pkl") == value


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("harm",)


def test_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(
        UserError, match=r"x\.pkl cannot be read as a pickle of plain values: it refers to posix\.mkdir"
    ):
        plain_pickle.read(tmp_path / "x.pkl")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x05", b"no pickle", pickle.dumps(list(range(99)))[:-30], b"cposix\nmkdir\n."]
)
def test_broken_files_are_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read as a pickle of plain values") as caught:
        plain_pickle.read(tmp_path / "x.pkl")
    assert "\n" not in str(caught.value)
