"""Banks of images."""

import pytest
import torch
from labeled_images import labeled_bank

from metarun.datasets.bank import Bank


def test_select_keeps_each_class_together() -> None:
    chosen = labeled_bank(0, [3, 1, 2]).select([2, 0])
    assert chosen.names == ("0-2", "0-0")
    assert chosen.images[:, 0, 0, 1].tolist() == [2, 2, 0, 0, 0]
    assert (chosen.first.tolist(), chosen.count.tolist()) == ([0, 2], [2, 3])


def test_rotated_makes_classes_of_turns() -> None:
    bank = labeled_bank(0, [3, 1])
    turned = bank.rotated()
    assert turned.names == tuple(f"0-{c}/rot{turn}" for turn in ("000", "090", "180", "270") for c in range(2))
    quarter = turned.names.index("0-1/rot090")
    image = turned.images[turned.first[quarter]]
    assert torch.equal(image, torch.rot90(bank.images[3], 1, (1, 2)))


@pytest.mark.parametrize("count", [[2, 2], [3], [1, 1, 1]])
def test_counts_must_fit(count: list[int]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Bank.of(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor(count), ["a", "b"])
