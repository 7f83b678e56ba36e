"""Cutting out ink, comparing letters and choosing among them."""

import numpy as np
import pytest
import torch

from metarun.datasets.cropping import framed, reach
from metarun.datasets.letter_rendering import printed
from metarun.datasets.lookalikes import distinct, likeness


def block(top: int, left: int, height: int, width: int) -> torch.Tensor:
    drawing = torch.zeros(32, 32, dtype=torch.uint8)
    drawing[top : top + height, left : left + width] = 255
    return drawing


def test_reach_is_the_longer_side_of_the_ink() -> None:
    drawings = torch.stack([block(3, 5, 8, 4), block(0, 0, 32, 1), block(20, 4, 2, 16)])
    assert reach(drawings).tolist() == [8 / 32, 1, 16 / 32]


def test_framed_cuts_around_the_ink() -> None:
    drawing = block(4, 10, 16, 8)
    cut = framed(drawing[None], torch.tensor([0.5]), 16)[0]
    expected = np.zeros((16, 16))
    expected[:, 4:12] = 255
    assert cut.numpy() == pytest.approx(expected, abs=1e-2)


def test_likeness_is_blind_to_size_and_place() -> None:
    same = [block(2, 2, 8, 4), block(12, 16, 16, 8)]
    alike = likeness(torch.stack([*same, block(2, 2, 4, 8)])[:, None])
    assert float(alike[0, 1]) > 0.99  # the edges of the smaller one are softer
    assert float(alike[0, 2]) < 0.8
    assert alike.diagonal().tolist() == pytest.approx([1, 1, 1], abs=1e-5)


def test_identical_letters_are_found() -> None:
    latin_a, greek_alpha, cyrillic_a, latin_b = "A", "\u0391", "\u0410", "B"
    alike = likeness(printed([latin_a, greek_alpha, cyrillic_a, latin_b]))
    assert float(alike[:3, :3].min()) > 0.99  # fonts may place one a fraction of a pixel aside
    assert float(alike[3, :3].max()) < 0.8


def test_distinct_keeps_the_first_of_similar_items() -> None:
    alike = torch.tensor([[1.0, 0.95, 0.1], [0.95, 1.0, 0.95], [0.1, 0.95, 1.0]])
    assert distinct(alike, 0.92) == [0, 2]  # the third is like the second, which is not kept
    assert distinct(alike, 0.96) == [0, 1, 2]
