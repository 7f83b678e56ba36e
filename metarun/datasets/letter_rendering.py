"""Letters drawn from the fonts that matplotlib's wheel carries, and distorted."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from metarun.core.counters import key, keys, uniform
from metarun.datasets.cropping import framed, reach

FACES = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
)
_EM = 32  # font size in pixels: the largest letter then fits the canvas
_CANVAS = 64
_CHUNK = 64  # letters at a time: bounds the memory


@dataclass(frozen=True)
class Distortion:
    """How far a drawing may be off the printed letter: each number is uniform within ± its bound.

    rotation: degrees. scale: fraction, for width and height on their own. shear: sideways per unit of height.
    shift: fraction of the image's side.
    """

    rotation: float
    scale: float
    shear: float
    shift: float
    seed: int


def script(letter: str) -> str:
    """The first word of the letter's Unicode name: LATIN, GREEK, …"""
    return unicodedata.name(letter).split()[0]


def shared_letters(scripts: Sequence[str]) -> list[str]:
    """The letters of these scripts that every face has, by script, then by code point."""
    faces = [set(FT2Font(str(_path(face))).get_charmap()) for face in FACES]
    letters = [chr(code) for code in sorted(set.intersection(*faces)) if unicodedata.category(chr(code))[0] == "L"]
    return [letter for wanted in scripts for letter in letters if script(letter) == wanted]


def printed(letters: Sequence[str]) -> Tensor:
    """Undistorted letters as the fonts have them: uint8 ``[letters, faces, 64, 64]``, ink 255."""
    drawings = np.zeros((len(letters), len(FACES), _CANVAS, _CANVAS), np.uint8)
    for column, face in enumerate(FACES):
        font = ImageFont.truetype(str(_path(face)), _EM, layout_engine=ImageFont.Layout.BASIC)
        for row, letter in enumerate(letters):
            canvas = Image.new("L", (_CANVAS, _CANVAS))
            ImageDraw.Draw(canvas).text((_CANVAS // 2, _CANVAS // 2), letter, font=font, fill=255, anchor="mm")
            drawings[row, column] = np.asarray(canvas)
    return torch.from_numpy(drawings)


def enlarged(drawings: Tensor, box: float) -> Tensor:
    """Printed letters, the ink centerd and its box's longer side (mean over the faces) ``box`` of the side.

    uint8 ``[letters, faces, 64, 64]``, like ``drawings``.
    """
    side = reach(drawings).mean(1, keepdim=True).expand(drawings.shape[:2]) / box
    chunks = zip(drawings.split(_CHUNK), side.split(_CHUNK), strict=True)
    return torch.cat([framed(some, its, _CANVAS).round().to(torch.uint8) for some, its in chunks])


def distorted(drawings: Tensor, letters: Sequence[str], copies: int, size: int, by: Distortion) -> Tensor:
    """Each drawing ``copies`` times, each copy distorted: uint8 ``[letters, faces · copies, size, size]``.

    The distortion follows from the letter, the face and the copy alone, not from the other letters.
    """
    codes = torch.tensor([ord(letter) for letter in letters])
    items = torch.arange(drawings.shape[1] * copies)
    draws = 2 * uniform(keys(keys(key(by.seed, "glyphs"), codes)[:, None], items), 6).float() - 1
    chunks = zip(drawings.split(_CHUNK), draws.split(_CHUNK), strict=True)
    return torch.cat([_warped(some.repeat_interleave(copies, 1), draw, size, by) for some, draw in chunks])


def _warped(drawings: Tensor, draws: Tensor, size: int, by: Distortion) -> Tensor:
    """Drawings ``[n, m, 64, 64]`` through the affine maps that ``draws`` ``[n, m, 6]`` in [-1, 1] stand for."""
    turn, wide, high, lean, right, down = draws.flatten(0, 1).unbind(-1)
    angle = turn * math.radians(by.rotation)
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).view(-1, 2, 2)
    shear = torch.eye(2).repeat(len(angle), 1, 1)
    shear[:, 0, 1] = lean * by.shear
    # The map goes from the image back to the canvas, so sizes are inverted; coordinates run from -1 to 1.
    stretch = torch.diag_embed(torch.stack([1 / (1 + wide * by.scale), 1 / (1 + high * by.scale)], -1))
    back = rotation @ shear @ stretch
    shift = 2 * by.shift * torch.stack([right, down], -1)
    grid = F.affine_grid(
        torch.cat([back, -back @ shift[:, :, None]], -1), [len(angle), 1, 2 * size, 2 * size], align_corners=False
    )
    source = drawings.flatten(0, 1).unsqueeze(1).float()
    # Twice the resolution, then the mean of four: thin strokes survive being made smaller.
    images = F.avg_pool2d(F.grid_sample(source, grid, align_corners=False), 2)
    return images.round().to(torch.uint8).view(*drawings.shape[:2], size, size)


def _path(face: str) -> Path:
    return Path(matplotlib.get_data_path(), "fonts", "ttf", f"{face}.ttf")
