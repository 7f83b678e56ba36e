"""Omniglot (Lake, Salakhutdinov & Tenenbaum 2015): 1,623 handwritten characters of 50 alphabets, 20 drawings each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from metarun.core.counters import key, uniform
from metarun.core.errors import UserError
from metarun.core.fields import choice
from metarun.core.tasks import SPLITS
from metarun.datasets import omniglot_files
from metarun.datasets.bank import Bank
from metarun.datasets.base import EpisodeShape, Seeds
from metarun.datasets.cache import cached
from metarun.datasets.episodes import EpisodicDataset

_SIZE = 28
_TEST = 423
_RANDOM_VAL = 100
_VINYALS_VAL = ("Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)")


@dataclass(kw_only=True)
class OmniglotConfig(EpisodeShape):
    """Keys of ``conf/dataset/omniglot.yaml``."""

    root: str
    download: bool
    url: str
    protocol: str = choice("vinyals", "random")
    rotations: bool

    def load(self, seed: int, device: torch.device, dtype: torch.dtype, episode_seed: int = 0) -> EpisodicDataset:
        characters = self._characters()
        classes = vinyals(characters.names) if self.protocol == "vinyals" else shuffled(len(characters.names), seed)
        # Turned after splitting: a character and its turns are always in one split.
        banks = {split: characters.select(classes[split]) for split in SPLITS}
        if self.rotations:
            banks = {split: bank.rotated() for split, bank in banks.items()}
        return EpisodicDataset(
            "omniglot",
            banks,
            self,
            seeds=Seeds(seed, episode_seed),
            device=device,
            dtype=dtype,
            noun="characters and their turns by 90°" if self.rotations else "characters",
            remark=f"{self.protocol} split",
            facts={
                "split": self.protocol,
                **({"split_seed": seed} if self.protocol == "random" else {}),
                "rotations": self.rotations,
            },
            group_of=alphabet,
        )

    def _characters(self) -> Bank:
        """All characters, named ``Alphabet/characterNN``: background, then evaluation, each in order of name."""
        root = Path(self.root).expanduser()
        parts = []
        for name in omniglot_files.PARTS:
            part = omniglot_files.find(root, name)
            if part is None and self.download:
                omniglot_files.download(self.url, root, name)
                part = omniglot_files.find(root, name)
            if part is None:
                raise UserError(
                    f"no Omniglot under {self.root!r}; set dataset.root to the folder with images_background.zip and "
                    "images_evaluation.zip, or dataset.download=true"
                )
            parts.append(part)
        names = [character for part in parts for character in part.characters]
        count = torch.full((len(names),), omniglot_files.DRAWINGS)
        recipe = " ".join(["area mean", str(_SIZE), *(part.fingerprint for part in parts)])
        return cached("omniglot", recipe, lambda: Bank.of(omniglot_files.drawings(parts, _SIZE), count, names))


def alphabet(character: str) -> str:
    """The alphabet of a character, by its name."""
    return character.split("/")[0]


def vinyals(names: Sequence[str]) -> dict[str, list[int]]:
    """The split of Vinyals et al. (2016), with the validation characters of Snell et al. (2017).

    names: all 1,623, ordered as in `OmniglotConfig`. Meta-test is the last 423 of them, which parts one alphabet
    (Gurmukhi, 41 : 4); meta-val is five whole alphabets of the background set.
    """
    trainval = range(len(names) - _TEST)
    val = [number for number in trainval if alphabet(names[number]) in _VINYALS_VAL]
    train = [number for number in trainval if alphabet(names[number]) not in _VINYALS_VAL]
    return {"train": train, "val": val, "test": list(range(trainval.stop, len(names)))}


def shuffled(characters: int, seed: int) -> dict[str, list[int]]:
    """Characters at random, as in Finn et al. (2017): 423 for meta-test, 100 for meta-val, 1,100 remain to train on."""
    order = uniform(torch.tensor(key(seed, "dataset", "omniglot", "split")), characters).argsort().tolist()
    val_from, test_from = characters - _TEST - _RANDOM_VAL, characters - _TEST
    return {"train": order[:val_from], "val": order[val_from:test_from], "test": order[test_from:]}
