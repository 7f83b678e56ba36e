"""Small image banks whose pixels encode class and item."""

import torch

from metarun.datasets.bank import Bank
from metarun.datasets.base import EpisodeShape, Seeds
from metarun.datasets.episodes import EpisodicDataset


def labeled_bank(split: int, counts: list[int]) -> Bank:
    """Pixels (0, 0), (0, 1), (1, 0) of an image are the numbers of its split, class and item."""
    said = [(split, number, item, 255) for number, count in enumerate(counts) for item in range(count)]
    images = torch.tensor(said, dtype=torch.uint8).view(-1, 1, 2, 2)
    return Bank.of(images, torch.tensor(counts), [f"{split}-{number}" for number in range(len(counts))])


def labeled_episodes(shape: EpisodeShape, seed: int = 0, dtype: torch.dtype = torch.float64) -> EpisodicDataset:
    """8 / 6 / 7 classes of 9 to 16 images."""
    counts = [[9 + (3 * number + split) % 8 for number in range(classes)] for split, classes in enumerate((8, 6, 7))]
    banks = {name: labeled_bank(split, counts[split]) for split, name in enumerate(("train", "val", "test"))}
    return EpisodicDataset(
        *("speaking", banks, shape),
        **{"seeds": Seeds(seed, seed), "device": torch.device("cpu"), "dtype": dtype},
        **{"noun": "classes", "remark": "made up", "facts": {"split": "made up"}},
    )


def said(x: torch.Tensor) -> torch.Tensor:
    """Split, class and item of images ``[..., 1, 2, 2]``: int64 ``[..., 3]``."""
    return (x.flatten(-3)[..., :3] * 255).round().long()
