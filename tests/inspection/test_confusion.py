"""Confusions are counted as one would by hand."""

import pytest
import torch
from torch import Tensor

from metarun.engine.evaluation import EvaluationResult
from metarun.inspection.confusion import confusion


def episodes(label: Tensor, guess: Tensor, classes: Tensor) -> EvaluationResult:
    return EvaluationResult({"accuracy": torch.zeros(len(label), 1)}, {}, {"label": label, "guess": guess}, classes)


def made(seed: int, count: int = 30, of: int = 9, ways: int = 3, queries: int = 12) -> EvaluationResult:
    """Random episodes with guesses that are right two times of three; some rows fill up."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.stack([torch.randperm(of, generator=generator)[:ways] for _ in range(count)])
    label = torch.randint(ways, (count, queries), generator=generator)
    other = torch.randint(ways, (count, queries), generator=generator)
    guess = torch.where(torch.rand(count, queries, generator=generator) < 0.5, label, other)
    filled = torch.rand(count, queries, generator=generator) < 0.1
    return episodes(label.masked_fill(filled, -1), guess.masked_fill(filled, -1), classes)


def by_hand(told: EvaluationResult) -> tuple[dict[tuple[int, int], int], dict[tuple[int, int], int]]:
    """Of each true and other class: how many queries were taken for it, and how many could have been."""
    taken: dict[tuple[int, int], int] = {}
    asked: dict[tuple[int, int], int] = {}
    for labels, guesses, classes in zip(
        told.answers["label"].tolist(), told.answers["guess"].tolist(), told.classes.tolist(), strict=True
    ):
        for label, guess in zip(labels, guesses, strict=True):
            if label < 0:
                continue
            pair = (classes[label], classes[guess])
            taken[pair] = taken.get(pair, 0) + 1
            for other in classes:
                asked[classes[label], other] = asked.get((classes[label], other), 0) + 1
    return taken, asked


NAMES = tuple("abcdefghi")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("most", [4, 9, 20])
def test_counts(seed: int, most: int) -> None:
    told = made(seed)
    found = confusion(told, NAMES, most)
    assert found is not None
    assert len(found.names) == min(most, 9)
    taken, asked = by_hand(told)
    for row, true in enumerate(found.names):
        for column, other in enumerate(found.names):
            pair = (NAMES.index(true), NAMES.index(other))
            assert found.taken[row, column] == taken.get(pair, 0)
            assert found.asked[row, column] == asked.get(pair, 0)
    assert found.errors == sum(count for (true, guess), count in taken.items() if true != guess)
    assert found.classes == 9


def test_the_most_frequent_confusions_are_shown() -> None:
    told = made(0)
    taken, _ = by_hand(told)
    wrong = {pair: count for pair, count in taken.items() if pair[0] != pair[1]}
    worst = max(sorted(wrong), key=lambda pair: wrong[pair])
    found = confusion(told, NAMES, 2)
    assert found is not None
    assert set(found.names) == {NAMES[number] for number in worst}


def test_label_with_one_meaning_is_a_class() -> None:
    label, guess = torch.tensor([[0, 1, 2], [2, 2, 0]]), torch.tensor([[0, 2, 2], [2, 1, 0]])
    found = confusion(episodes(label, guess, torch.zeros(2, 0, dtype=torch.int64)), ("x", "y", "z"), 9)
    assert found is not None
    assert found.names == ("x", "y", "z")
    assert found.taken.tolist() == [[2, 0, 0], [0, 0, 1], [0, 1, 2]]
    assert found.asked.tolist() == [[2, 2, 2], [1, 1, 1], [3, 3, 3]]


def test_classes_without_names_are_not_compared() -> None:
    assert confusion(made(0), (), 9) is None
    assert confusion(EvaluationResult({"mse": torch.zeros(2, 1)}), NAMES, 9) is None
