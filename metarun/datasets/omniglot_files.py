"""Reading and fetching Omniglot's two official zips (or the folders that they unpack to)."""

import hashlib
import http.client
import io
import re
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from metarun.core.errors import UserError

PARTS = {"images_background": 964, "images_evaluation": 659}
"""Names of the two parts, and how many characters each holds (Lake, Salakhutdinov & Tenenbaum 2015)."""
DRAWINGS = 20
"""Drawings of every character, each by another person."""

_SIDE = 105
_DRAWING = re.compile(r"([^/]+/character\d+)/\d+_\d+\.png")
_TIMEOUT = 30  # seconds without a byte
_BLOCK = 1 << 16
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged, encrypted or foreign file may raise."""


@dataclass(frozen=True)
class Part:
    """One of the two parts. characters: the files of each ``Alphabet/characterNN``, both in order of name."""

    place: Path
    characters: dict[str, list[str]]
    fingerprint: str
    """Changes when a file changes."""
    read: Callable[[str], bytes]


def find(root: Path, name: str) -> Part | None:
    """The part in ``root/name.zip`` or ``root/name/``; None if neither is there. Raises `UserError` if incomplete."""
    archive, folder = root / f"{name}.zip", root / name
    if archive.is_file():
        part = _in_zip(archive, name)
    elif folder.is_dir():
        part = _in_folder(folder)
    else:
        return None
    wrong = next((character for character, files in part.characters.items() if len(files) != DRAWINGS), None)
    if len(part.characters) != PARTS[name]:
        raise UserError(f"{part.place} has {len(part.characters)} characters; Omniglot's has {PARTS[name]}")
    if wrong:
        found = len(part.characters[wrong])
        raise UserError(f"{part.place} has {found} drawings of {wrong}; Omniglot's has {DRAWINGS}")
    return part


def drawings(parts: list[Part], size: int) -> Tensor:
    """All drawings, character after character: uint8 ``[characters · 20, 1, size, size]``, ink 255.

    A pixel is the mean of the area that it covers in the original of 105 by 105, where ink is 0.
    """
    files = [(part, file) for part in parts for paths in part.characters.values() for file in paths]
    images = np.empty((len(files), 1, size, size), np.uint8)
    shares = _shares(size)
    for row, (part, file) in enumerate(tqdm(files, "reading Omniglot", disable=None, leave=False)):
        images[row, 0] = np.rint(255 * (shares @ _ink(part, file) @ shares.T))
    return torch.from_numpy(images)


def download(url: str, root: Path, name: str) -> None:
    """Fetch ``url/name.zip`` into ``root``. Only a whole, sound and complete file is left there; else `UserError`."""
    source = f"{url.rstrip('/')}/{name}.zip"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as folder:
            archive = Path(folder, f"{name}.zip")
            _fetch(source, archive)
            part = find(Path(folder), name)
            assert part is not None
            _test(archive)
            archive.replace(root / f"{name}.zip")
    except UserError as error:
        raise UserError(f"{source} is not the official file: {error}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UserError(f"could not download {source} to {root}: {error}") from error


def _fetch(source: str, target: Path) -> None:
    with urllib.request.urlopen(source, timeout=_TIMEOUT) as answer, target.open("wb") as file:
        size = int(answer.headers.get("Content-Length", 0)) or None
        with tqdm(desc=target.name, total=size, unit="B", unit_scale=True, disable=None, leave=False) as bar:
            while block := answer.read(_BLOCK):
                file.write(block)
                bar.update(len(block))
        if size and file.tell() != size:
            raise OSError(f"the connection ended after {file.tell():,} of {size:,} bytes")


def _test(archive: Path) -> None:
    """Read every file in the zip and compare its checksum."""
    try:
        with zipfile.ZipFile(archive) as opened:
            broken = opened.testzip()
    except _BROKEN as error:
        raise UserError(f"it is damaged: {error}") from error
    if broken:
        raise UserError(f"{broken} in it is damaged")


def _in_zip(archive: Path, name: str) -> Part:
    """Nothing is ever unpacked, so a path in the zip cannot lead anywhere."""
    try:
        opened = zipfile.ZipFile(archive)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{archive} cannot be read as a zip file: {error}") from error
    members = {
        info.filename.removeprefix(f"{name}/"): info
        for info in sorted(opened.infolist(), key=lambda info: info.filename)
        if info.filename.startswith(f"{name}/")
    }
    print_of = [f"{path} {info.file_size} {info.CRC}" for path, info in members.items()]
    return Part(archive, _by_character(list(members)), _digest(print_of), lambda path: opened.read(members[path]))


def _in_folder(folder: Path) -> Part:
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/character*/*.png"))
    states = [(path, (folder / path).stat()) for path in paths]
    print_of = [f"{path} {state.st_size} {state.st_mtime_ns}" for path, state in states]
    return Part(folder, _by_character(paths), _digest(print_of), lambda path: (folder / path).read_bytes())


def _by_character(paths: list[str]) -> dict[str, list[str]]:
    characters: dict[str, list[str]] = {}
    for path in paths:
        if match := _DRAWING.fullmatch(path):
            characters.setdefault(match[1], []).append(path)
    return characters


def _digest(lines: list[str]) -> str:
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def _ink(part: Part, file: str) -> np.ndarray:
    """1 where the drawing has ink, else 0: float32 ``[105, 105]``."""
    try:
        with Image.open(io.BytesIO(part.read(file))) as image:
            if image.size != (_SIDE, _SIDE):
                raise ValueError(f"it is {image.width} by {image.height} pixels, not {_SIDE} by {_SIDE}")
            return 1 - np.asarray(image.convert("1"), np.float32)
    except _BROKEN as error:
        raise UserError(f"{file} in {part.place} cannot be read: {error}") from error


def _shares(size: int) -> np.ndarray:
    """The share of each of 105 pixels in each of ``size`` equal stretches of a line: ``[size, 105]``, rows sum to 1."""
    edges = np.linspace(0, _SIDE, size + 1)
    pixels = np.arange(_SIDE)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (overlap.clip(0) * size / _SIDE).astype(np.float32)
