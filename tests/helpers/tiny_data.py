"""The smallest files that datasets of the user's own files take."""

import csv
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

OMNIGLOT = {"images_background": {"Greek": 5, "Hebrew": 4}, "images_evaluation": {"Keble": 4, "ULOG": 3}}
"""Characters of each alphabet of a stand-in for Omniglot."""


def table(path: Path, names: tuple[str, str] = ("task", "target"), classes: bool = False, tasks: int = 10) -> Path:
    """Linear functions of two features, another one in each task; or which side of a line a row is on."""
    generator, rows = np.random.default_rng(0), []
    for task in range(tasks):
        slope = generator.normal(size=2)
        for _ in range(30 + task % 3):
            x = generator.normal(size=2)
            y = float(x @ slope + 0.1 * generator.normal())
            rows.append([f"t{task}", ("above" if y > 0 else "below") if classes else y, *x])
    return _written(path, [*names, "one", "two"], rows)


def _written(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def pictures(root: Path, classes: int = 18, each: int = 6, size: int = 8) -> Path:
    """A folder of classes: colored noise, and in each picture more of it."""
    generator = np.random.default_rng(0)
    for number in range(classes):
        common = generator.integers(0, 256, (size, size, 3))
        (root / f"class{number}").mkdir(parents=True)
        for picture in range(each):
            pixels = common + generator.integers(-40, 40, common.shape)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / f"class{number}" / f"{picture}.png")
    return root


def omniglot(root: Path) -> Path:
    """Omniglot's two archives with the characters of `OMNIGLOT`, 20 drawings each."""
    root.mkdir(parents=True)
    for part, alphabets in OMNIGLOT.items():
        with zipfile.ZipFile(root / f"{part}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for alphabet, characters in alphabets.items():
                for character in range(1, characters + 1):
                    for item in range(1, 21):
                        name = f"{part}/{alphabet}/character{character:02}/{character:04}_{item:02}.png"
                        archive.writestr(name, drawing(7 * character + item))
    return root


def drawing(seed: int) -> bytes:
    """A PNG like the official ones: 105 by 105, one bit, ink 0; the ink is a block whose place tells the seed."""
    paper = np.ones((105, 105), bool)
    paper[:30, :30] = False
    paper[40 : 41 + seed % 60, 40:80] = False
    file = io.BytesIO()
    Image.fromarray(paper).save(file, "png")
    return file.getvalue()
