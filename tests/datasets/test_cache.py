"""The cache: made once, made anew when broken or outdated, and never in the way."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from labeled_images import labeled_bank

from metarun.datasets.bank import Bank
from metarun.datasets.cache import cached, folder


class Builder:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Bank:
        self.calls += 1
        return labeled_bank(0, [3, 1, 2])


def assert_same(one: Bank, other: Bank) -> None:
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.count, other.count)
    assert torch.equal(one.first, other.first)
    assert one.names == other.names


def test_made_once(own_cache: Path) -> None:
    build = Builder()
    first, second = cached("toy", "a", build), cached("toy", "a", build)
    assert build.calls == 1
    assert_same(first, second)
    assert [path.suffix for path in own_cache.iterdir()] == [".npz"]  # no temporary file is left


def test_changed_recipe_is_rebuilt() -> None:
    build = Builder()
    for recipe in ("a", "b", "a", "b"):
        cached("toy", recipe, build)
    assert build.calls == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other arrays", "text", "pickled"])
def test_broken_file_is_rebuilt(own_cache: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    build = Builder()
    expected = cached("toy", "a", build)
    (path,) = own_cache.iterdir()
    content = path.read_bytes()
    if damage == "other arrays":
        np.savez(path, images=np.zeros(3))
    elif damage == "pickled":
        np.savez(path, images=expected.images, count=expected.count, names=np.array([{}, {}, {}], dtype=object))
    else:
        flipped = content.replace(expected.images.numpy().tobytes(), bytes(expected.images.numel()))
        path.write_bytes({"cut": content[:-100], "flipped": flipped, "empty": b"", "text": b"x" * 500}[damage])
    with caplog.at_level(logging.WARNING):
        assert_same(cached("toy", "a", build), expected)
    assert build.calls == 2
    assert len(caplog.records) == 1
    assert_same(cached("toy", "a", build), expected)
    assert build.calls == 2


def test_unwritable_folder_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert_same(cached("toy", "a", Builder()), labeled_bank(0, [3, 1, 2]))
    assert len(caplog.records) == 1
    assert "\n" not in caplog.text.strip()


def test_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says the specification
    assert folder() == tmp_path / ".cache" / "metarun"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert folder() == tmp_path / ".cache" / "metarun"


def test_without_a_home_nothing_is_kept(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", unknown)
    build = Builder()
    with caplog.at_level(logging.WARNING):
        assert_same(cached("toy", "a", build), cached("toy", "a", build))
    assert build.calls == 2
    assert "set XDG_CACHE_HOME" in caplog.text
