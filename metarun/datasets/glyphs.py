"""Letters of five scripts, drawn from fonts that come with matplotlib: nothing to download.

A class is a letter, an item one of the 12 DejaVu faces with a distortion of its own: 2 drawings of each face, 24 items
a class. Splits are by script, so that meta-test letters come from alphabets that were never seen.

Letters that look the same as another are left out: those whose printed shapes, brought to one size, have a cosine of
`Recipe.alike` or more (mean over the faces); the first script in `SCRIPTS` keeps its letter. Of 1,378 letters 848
remain: 489 Latin and 100 Cyrillic for meta-train, 144 Greek for meta-val, 73 Armenian and 42 Georgian for meta-test.
"""

import importlib.metadata
from dataclasses import dataclass

import torch

from metarun.core.tasks import SPLITS
from metarun.datasets.bank import Bank
from metarun.datasets.base import EpisodeShape, Seeds
from metarun.datasets.cache import cached
from metarun.datasets.episodes import EpisodicDataset
from metarun.datasets.letter_rendering import FACES, Distortion, distorted, enlarged, printed, script, shared_letters
from metarun.datasets.lookalikes import distinct, likeness

SCRIPTS = {"ARMENIAN": "test", "GEORGIAN": "test", "LATIN": "train", "CYRILLIC": "train", "GREEK": "val"}
"""The split of each script; the order decides which of two letters that look the same is kept."""


@dataclass(frozen=True)
class Recipe:
    """All that decides the images, beside the versions of the fonts and of the renderer. Not the run's seed:
    the distorted letters are the dataset, and the same for everyone.
    """

    distortion: Distortion
    copies: int
    size: int
    box: float
    """Longer side of the undistorted letter, as a fraction of the image's."""
    alike: float
    """Likeness from which two letters count as the same."""
    version: int
    """To be raised when the code that draws changes what it draws."""


RECIPE = Recipe(
    Distortion(rotation=12, scale=0.15, shear=0.15, shift=0.05, seed=1),
    copies=2,
    size=28,
    box=0.6,
    # 107 pairs coincide (.999 and above), 1,433 reach .92: down to there a reader takes most pairs for the same at this
    # size, such as a vowel with either of two accents, or an Armenian letter that differs from a Latin in one face.
    alike=0.92,
    version=1,
)


@dataclass
class GlyphsConfig(EpisodeShape):
    """Keys of ``conf/dataset/glyphs.yaml``."""

    def load(self, seed: int, device: torch.device, dtype: torch.dtype, episode_seed: int = 0) -> EpisodicDataset:
        letters = glyphs(RECIPE)
        classes = {
            split: [number for number, letter in enumerate(letters.names) if SCRIPTS[script(letter)] == split]
            for split in SPLITS
        }
        return EpisodicDataset(
            "glyphs",
            {split: letters.select(classes[split]) for split in SPLITS},
            self,
            seeds=Seeds(seed, episode_seed),
            device=device,
            dtype=dtype,
            noun="letters",
            remark="no alphabet shared",
            facts={"split": "by script", "rotations": False},
            group_of=lambda letter: script(letter).title(),
        )


def glyphs(recipe: Recipe) -> Bank:
    """The letters that the recipe keeps, each a class named by itself: from the cache, or drawn in a few seconds."""
    versions = " ".join(f"{package} {importlib.metadata.version(package)}" for package in ("matplotlib", "pillow"))
    return cached("glyphs", f"{recipe} {FACES} {SCRIPTS} {versions}", lambda: drawn(recipe))


def drawn(recipe: Recipe) -> Bank:
    """`glyphs` without the cache."""
    letters = shared_letters(tuple(SCRIPTS))
    drawings = printed(letters)
    kept = distinct(likeness(drawings), recipe.alike)
    names = [letters[number] for number in kept]
    images = distorted(enlarged(drawings[kept], recipe.box), names, recipe.copies, recipe.size, recipe.distortion)
    return Bank.of(images.flatten(0, 1).unsqueeze(1), torch.full((len(names),), images.shape[1]), names)
