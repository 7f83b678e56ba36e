"""A user's own pictures: a folder for each class, in folders for each split or with the classes divided by seed."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from tqdm import tqdm

from metarun.core.counters import key, uniform
from metarun.core.errors import UserError
from metarun.core.fields import number
from metarun.core.tasks import SPLITS
from metarun.datasets.bank import Bank
from metarun.datasets.base import EpisodeShape, Seeds
from metarun.datasets.cache import cached
from metarun.datasets.episodes import EpisodicDataset

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
_MODES = {1: "L", 3: "RGB"}


@dataclass(kw_only=True)
class ImageFolderConfig(EpisodeShape):
    """Keys of ``conf/dataset/image_folder.yaml``."""

    root: str
    size: int = number(least=8)
    channels: int = number(least=1, most=3)
    fractions: list[float]

    def load(self, seed: int, device: torch.device, dtype: torch.dtype, episode_seed: int = 0) -> EpisodicDataset:
        root = Path(self.root).expanduser()
        if self.channels not in _MODES:
            raise UserError(f"dataset.channels={self.channels}: choose 1 (gray) or 3 (color)")
        if not root.is_dir():
            raise UserError(
                f"dataset.root={self.root}: no such folder; it should hold train/CLASS/*.png, val/… and test/…, "
                "or CLASS/*.png"
            )
        ready = any((root / split).is_dir() for split in SPLITS)
        folders = _folders_by_split(root) if ready else _subfolders(root)
        files = [(folder, _pictures(folder)) for folder in folders]
        names = [folder.relative_to(root).as_posix() for folder in folders]
        classes = _by_folder(names) if ready else divided(len(names), self.fractions, seed)
        for split in SPLITS:
            if len(classes[split]) < 2:
                how = f"{root / split}" if ready else f"dataset.fractions={self.fractions} of {len(names)} classes"
                raise UserError(f"{how}: {len(classes[split])} for meta-{split}; every split needs 2 classes or more")
        pictures = cached(
            "image_folder",
            f"{self.size} {self.channels} {_fingerprint(root, files)}",
            lambda: self._decoded(files, names),
        )
        return EpisodicDataset(
            "image_folder",
            {split: pictures.select(classes[split]) for split in SPLITS},
            self,
            seeds=Seeds(seed, episode_seed),
            device=device,
            dtype=dtype,
            noun="classes",
            remark="split by folder" if ready else f"split at random by seed {seed}",
            facts={
                "folder": root.resolve().name,
                "content": _content(self.size, self.channels, names, files),
                **({"split": "folders"} if ready else {"split": f"random {self.fractions}", "split_seed": seed}),
                "rotations": False,
            },
        )

    def _decoded(self, files: Sequence[tuple[Path, list[Path]]], names: Sequence[str]) -> Bank:
        paths = [path for _, inside in files for path in inside]
        images = np.empty((len(paths), self.channels, self.size, self.size), np.uint8)
        for row, path in enumerate(tqdm(paths, "reading pictures", disable=None, leave=False)):
            picture = _picture(path, self.size, _MODES[self.channels])
            images[row] = picture.reshape(self.size, self.size, self.channels).transpose(2, 0, 1)
        return Bank.of(torch.from_numpy(images), torch.tensor([len(inside) for _, inside in files]), names)


def divided(classes: int, fractions: Sequence[float], seed: int) -> dict[str, list[int]]:
    """Classes divided at random into meta-train, meta-val and meta-test by these fractions of their number.

    Raises `UserError` unless there are three fractions that add up to 1.
    """
    if len(fractions) != 3 or min(fractions) < 0 or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        given = f"dataset.fractions={list(fractions)}"
        raise UserError(f"{given}: give three that add up to 1, for meta-train, meta-val, meta-test")
    order = uniform(torch.tensor(key(seed, "dataset", "image_folder", "split")), classes).argsort().tolist()
    val, test = round(classes * fractions[1]), round(classes * fractions[2])
    train = max(classes - val - test, 0)
    return {"train": order[:train], "val": order[train : train + val], "test": order[train + val :]}


def _folders_by_split(root: Path) -> list[Path]:
    """The class folders of all three splits. A class in two of them would leak from training into testing."""
    missing = [split for split in SPLITS if not (root / split).is_dir()]
    if missing:
        raise UserError(f"{root} has no folder {missing[0]!r}: give train, val and test, or only class folders")
    folders = [folder for split in SPLITS for folder in _subfolders(root / split)]
    seen: dict[str, Path] = {}
    for folder in folders:
        if folder.name in seen:
            raise UserError(f"class {folder.name!r} is in two splits: {seen[folder.name]} and {folder}")
        seen[folder.name] = folder
    return folders


def _by_folder(names: Sequence[str]) -> dict[str, list[int]]:
    splits = [name.split("/")[0] for name in names]
    return {split: [number for number, of in enumerate(splits) if of == split] for split in SPLITS}


def _subfolders(folder: Path) -> list[Path]:
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not inside:
        raise UserError(f"{folder} holds no class folders")
    return inside


def _pictures(folder: Path) -> list[Path]:
    inside = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
    )
    if not inside:
        raise UserError(f"{folder} holds no pictures ({', '.join(suffix[1:] for suffix in _SUFFIXES)})")
    return inside


def _picture(path: Path, size: int, mode: str) -> np.ndarray:
    """The central square, brought to ``size``; what is transparent becomes white. ``[size, size]`` or with channels."""
    try:
        with Image.open(path) as opened:
            if opened.mode[0] in "IF":
                raise ValueError(f"pixels of kind {opened.mode}; save it with 8 bits a channel")
            picture = ImageOps.exif_transpose(opened)
            if picture.has_transparency_data:
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
            return np.asarray(ImageOps.fit(picture.convert(mode), (size, size), Image.Resampling.BILINEAR))
    except Exception as error:  # what Pillow raises for a broken file depends on its format
        raise UserError(f"{path} cannot be read as a picture: {error}") from error


def _content(size: int, channels: int, names: Sequence[str], files: Sequence[tuple[Path, list[Path]]]) -> str:
    """A hash of what is in the folder, the same for a copy of it elsewhere: classes and names of pictures."""
    inside = [[path.name for path in paths] for _, paths in files]
    return hashlib.blake2b(repr((size, channels, list(names), inside)).encode(), digest_size=8).hexdigest()


def _fingerprint(root: Path, files: Sequence[tuple[Path, list[Path]]]) -> str:
    states = [(path.relative_to(root).as_posix(), path.stat()) for _, inside in files for path in inside]
    lines = "\n".join(f"{path} {state.st_size} {state.st_mtime_ns}" for path, state in states)
    return hashlib.blake2b(lines.encode(), digest_size=16).hexdigest()
