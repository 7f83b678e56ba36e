"""The default dataset: which letters, how drawn, and that pixels alone do not solve it."""

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
import torch

from metarun.core.kinds import Classification
from metarun.datasets import glyphs as module
from metarun.datasets.bank import Bank
from metarun.datasets.base import EpisodeShape
from metarun.datasets.glyphs import RECIPE, SCRIPTS, GlyphsConfig, drawn, glyphs
from metarun.datasets.letter_rendering import FACES, distorted, enlarged, printed, script, shared_letters
from metarun.datasets.lookalikes import likeness

SHAPE = (5, 1, 15, None, None, None)


@pytest.fixture(scope="module")
def letters() -> Bank:
    return drawn(RECIPE)


def by_split(letters: Bank) -> dict[str, list[str]]:
    return {
        split: [name for name in letters.names if SCRIPTS[script(name)] == split] for split in ("train", "val", "test")
    }


def test_the_faces_share_1378_letters() -> None:
    counts = Counter(script(letter) for letter in shared_letters(tuple(SCRIPTS)))
    assert counts == {"LATIN": 749, "GREEK": 322, "CYRILLIC": 186, "ARMENIAN": 78, "GEORGIAN": 43}


def test_letters_kept(letters: Bank) -> None:
    counts = Counter(script(letter) for letter in letters.names)
    assert counts == {"LATIN": 489, "GREEK": 144, "CYRILLIC": 100, "ARMENIAN": 73, "GEORGIAN": 42}
    assert letters.images.shape == (848 * 24, 1, 28, 28)
    assert set(letters.count.tolist()) == {24}


def test_no_letter_looks_like_another(letters: Bank) -> None:
    alike = likeness(printed(letters.names)) - torch.eye(len(letters.names))
    assert float(alike.max()) < RECIPE.alike
    # The leak planted: with the letters that were left out, the same check finds twins in two splits.
    every = shared_letters(tuple(SCRIPTS))
    alike = likeness(printed(every))
    splits = torch.tensor([list(SCRIPTS).index(script(letter)) for letter in every])
    assert float(alike[splits[:, None] != splits].max()) > 0.999


def test_splits_share_no_alphabet(letters: Bank) -> None:
    scripts = {split: {script(name) for name in names} for split, names in by_split(letters).items()}
    assert scripts == {"train": {"LATIN", "CYRILLIC"}, "val": {"GREEK"}, "test": {"ARMENIAN", "GEORGIAN"}}


def test_every_drawing_is_whole_and_its_own(letters: Bank) -> None:
    images = letters.images.view(848, 24, 28, 28)
    ink = images.float().mean((2, 3))
    assert float(ink.min()) > 3
    assert len({image.numpy().tobytes() for image in images.flatten(0, 1)}) == 848 * 24
    border = torch.cat([images[..., 0, :], images[..., -1, :], images[..., :, 0], images[..., :, -1]], -1)
    assert float((border.amax(-1) > 128).float().mean()) < 0.01  # next to nothing is cut off


def test_a_distortion_belongs_to_its_letter() -> None:
    together, alone = ["A", "B", "C"], ["B"]
    pictures = [
        distorted(enlarged(printed(some), RECIPE.box), some, 2, 28, RECIPE.distortion) for some in (together, alone)
    ]
    assert torch.equal(pictures[0][1], pictures[1][0])
    assert pictures[0].shape == (3, 2 * len(FACES), 28, 28)


def test_pixels_do_not_solve_the_tasks(letters: Bank) -> None:
    # Nearest neighbor by Euclidean distance, 5-way 1-shot on meta-test: .459 ± .004 over 2,000 tasks.
    episodes = GlyphsConfig(*SHAPE).load(0, torch.device("cpu"), torch.float32)
    batch = episodes.sample("test", 0, 400)
    distance = torch.cdist(batch.query.x.flatten(2), batch.support.x.flatten(2))
    accuracy = (distance.argmin(-1) == batch.query.y).float().mean()
    assert 0.4 < float(accuracy) < 0.6


def test_the_run_s_seed_chooses_tasks_not_images() -> None:
    one, other = (GlyphsConfig(*SHAPE).load(seed, torch.device("cpu"), torch.float32) for seed in (0, 1))
    assert torch.equal(one.bank("test").images, other.bank("test").images)
    assert not torch.equal(one.sample("train", 0, 4).support.x, other.sample("train", 0, 4).support.x)


def test_drawn_again_only_for_another_recipe(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    asked = []
    bank = Bank.of(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([2]), ["A"])
    monkeypatch.setattr(module, "drawn", lambda recipe: asked.append(recipe) or bank)
    other = dataclasses.replace(RECIPE, distortion=dataclasses.replace(RECIPE.distortion, seed=2))
    for recipe in (RECIPE, other, RECIPE, other):
        glyphs(recipe)
    assert asked == [RECIPE, other]


def test_summary_and_protocol() -> None:
    episodes = GlyphsConfig(*SHAPE).load(0, torch.device("cpu"), torch.float32)
    assert episodes.kind("test") == Classification(5)
    assert episodes.inputs.shape == (1, 28, 28)
    assert episodes.summary() == (
        "glyphs · 5-way 1-shot · 15 queries      "
        "589 meta-train / 144 meta-val / 115 meta-test letters, no alphabet shared"
    )
    assert EpisodeShape(*SHAPE).sizes("train") == (5, 1, 15)
    assert episodes.groups == ("Latin", "Cyrillic")
    names = episodes.facts("train", episodes.sample("train", 0, 20, 1), 1)["classes"]
    assert {script(letter) for row in names for letter in row.split(", ")} == {"CYRILLIC"}
