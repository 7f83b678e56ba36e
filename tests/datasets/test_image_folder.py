"""A user's own pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from metarun.core.errors import UserError
from metarun.datasets import image_folder
from metarun.datasets.episodes import EpisodicDataset
from metarun.datasets.image_folder import ImageFolderConfig, divided

CLASSES = {"train": ["ant", "bee", "cat"], "val": ["dog", "eel"], "test": ["fox", "gnu"]}
COLORS = {
    name: (20 * number, 200 - 20 * number, 77)
    for number, name in enumerate(name for own in CLASSES.values() for name in own)
}


def paint(path: Path, color: tuple[int, ...] = (9, 9, 9), size: tuple[int, int] = (24, 16), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """train, val and test with 4 pictures a class."""
    for split, names in CLASSES.items():
        for name in names:
            for number in range(4):
                paint(tmp_path / "pictures" / split / name / f"{number}.png", COLORS[name])
    return tmp_path / "pictures"


@pytest.fixture
def loose(tmp_path: Path) -> Path:
    """Ten classes without splits."""
    for name in range(10):
        for number in range(4):
            paint(tmp_path / "pictures" / f"class{name}" / f"{number}.png", (name, 0, 0))
    return tmp_path / "pictures"


def load(root: Path, seed: int = 0, **changes: Any) -> EpisodicDataset:
    settings = {
        **{"root": str(root), "size": 8, "channels": 3, "fractions": [0.6, 0.2, 0.2]},
        **{"ways": 2, "shots": 1, "queries": 2, "train_ways": None, "train_shots": None, "train_queries": None},
    }
    return ImageFolderConfig(**{**settings, **changes}).load(seed, torch.device("cpu"), torch.float32)


def test_folders_are_splits(ready: Path) -> None:
    episodes = load(ready)
    assert {split: list(episodes.bank(split).names) for split in CLASSES} == {
        split: [f"{split}/{name}" for name in names] for split, names in CLASSES.items()
    }
    batch = episodes.sample("test", 0, 3)
    assert batch.support.x.shape == (3, 2, 3, 8, 8)
    seen = {tuple((x[:, 0, 0] * 255).round().int().tolist()) for x in batch.support.x.flatten(0, 1)}
    assert seen == {COLORS["fox"], COLORS["gnu"]}
    assert episodes.protocol()["split"] == "folders"


def test_classes_are_divided_by_seed(loose: Path) -> None:
    one, same, other = load(loose), load(loose), load(loose, seed=1)
    names = {split: one.bank(split).names for split in CLASSES}
    assert [len(names[split]) for split in CLASSES] == [6, 2, 2]
    assert len({name for own in names.values() for name in own}) == 10
    assert names == {split: same.bank(split).names for split in CLASSES}
    assert names != {split: other.bank(split).names for split in CLASSES}


@given(st.integers(0, 300), st.integers(0, 100), st.integers(0, 100), st.integers(0, 99))
def test_divided_leaves_no_class_out_or_twice(classes: int, val: int, test: int, seed: int) -> None:
    val, test = val // 2, test // 2
    parts = divided(classes, [(100 - val - test) / 100, val / 100, test / 100], seed)
    assert sorted(number for own in parts.values() for number in own) == list(range(classes))
    assert abs(len(parts["val"]) - classes * val / 100) <= 0.5


def test_pictures_become_grey_or_square(ready: Path) -> None:
    assert load(ready, channels=1).inputs.shape == (1, 8, 8)
    grey = load(ready, channels=1).bank("train").images[0]
    assert int(grey[0, 0, 0]) == round(0.299 * 0 + 0.587 * 200 + 0.114 * 77)


def test_the_central_square_is_taken(ready: Path) -> None:
    wide = np.zeros((16, 32, 3), np.uint8)
    wide[:, 8:24] = 200
    Image.fromarray(wide).save(ready / "train" / "ant" / "0.png")
    # The outermost column blends with what lies beyond the cut.
    assert load(ready).bank("train").images[0, :, :, 1:-1].unique().tolist() == [200]


def test_what_is_transparent_is_white(ready: Path) -> None:
    paint(ready / "train" / "ant" / "0.png", (0, 0, 0, 0), mode="RGBA")
    assert load(ready).bank("train").images[0].unique().tolist() == [255]


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "webp", "bmp", "gif"])
def test_other_formats(ready: Path, suffix: str) -> None:
    (ready / "train" / "ant" / "0.png").unlink()
    paint(ready / "train" / "ant" / f"9.{suffix}", (250, 250, 250))
    assert int(load(ready).bank("train").images[3].min()) > 245


def test_decoded_once_until_a_file_changes(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    decode = image_folder._picture
    monkeypatch.setattr(image_folder, "_picture", lambda path, *rest: read.append(path) or decode(path, *rest))
    for _ in range(2):
        load(ready)
    assert len(read) == 28
    paint(ready / "train" / "ant" / "0.png", (255, 0, 0), (30, 30))
    assert load(ready).bank("train").images[0, :, 0, 0].tolist() == [255, 0, 0]
    assert len(read) == 56


def assert_refused(message: str, root: Path, **changes: Any) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        load(root, **changes)
    assert "\n" not in str(refusal.value)


def test_no_such_folder(tmp_path: Path) -> None:
    assert_refused(r"dataset\.root=.*/none: no such folder", tmp_path / "none")


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"x" * 50])
def test_a_broken_picture_is_named(ready: Path, content: bytes) -> None:
    (ready / "val" / "eel" / "2.png").write_bytes(content)
    assert_refused(r"val/eel/2\.png cannot be read as a picture", ready)


def test_a_cut_picture_is_named(ready: Path) -> None:
    path = ready / "val" / "eel" / "2.png"
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:5000])
    assert_refused(r"val/eel/2\.png cannot be read as a picture", ready)


def test_16_bits_are_refused(ready: Path) -> None:
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(ready / "val" / "eel" / "2.png")
    assert_refused(r"val/eel/2\.png .* 8 bits a channel", ready)


def test_a_class_in_two_splits_is_refused(ready: Path) -> None:
    for number in range(4):
        paint(ready / "test" / "bee" / f"{number}.png")
    assert_refused("class 'bee' is in two splits: .*train/bee and .*test/bee", ready)


def test_empty_folders_are_named(ready: Path) -> None:
    (ready / "train" / "hen").mkdir()
    assert_refused("train/hen holds no pictures", ready)
    (ready / "train" / "hen" / "notes.txt").write_text("no picture")
    assert_refused("train/hen holds no pictures", ready)


def test_a_missing_split_is_named(ready: Path) -> None:
    (ready / "val").rename(ready / "valid")
    assert_refused("has no folder 'val'", ready)


def test_a_split_of_one_class_is_refused(loose: Path) -> None:
    fractions = [0.8, 0.1, 0.1]
    assert_refused(r"fractions=\[0\.8, 0\.1, 0\.1\] of 10 classes: 1 for meta-val", loose, fractions=fractions)


def test_a_class_with_too_few_is_named(ready: Path) -> None:
    (ready / "val" / "eel" / "0.png").unlink()
    assert_refused(r"need 4 images of a class, but class 'val/eel' of meta-val has 3", ready, queries=3)


@pytest.mark.parametrize("fractions", [[0.5, 0.5], [0.5, 0.5, 0.5], [1.5, -0.25, -0.25]])
def test_fractions_must_add_up(loose: Path, fractions: list[float]) -> None:
    assert_refused(r"dataset\.fractions=.*: give three that add up to 1", loose, fractions=fractions)


def test_two_channels_are_refused(ready: Path) -> None:
    assert_refused(r"dataset\.channels=2: choose 1 \(gray\) or 3 \(color\)", ready, channels=2)
