"""The order in which inner steps see a support set."""

import pytest
import torch

from metarun.algorithms.minibatches import minibatches
from metarun.core.tasks import AnyExamples, Examples, PaddedExamples


def support(tasks: int, examples: int) -> Examples:
    return Examples(torch.zeros(tasks, examples, 1), torch.zeros(tasks, examples, 1))


def padded(sizes: list[int], rows: int) -> AnyExamples:
    mask = (torch.arange(rows) < torch.tensor(sizes)[:, None]).float()
    return PaddedExamples(*support(len(sizes), rows), mask)


@pytest.mark.parametrize(("examples", "size"), [(10, 5), (7, 3), (4, 10), (5, 5)])
def test_every_pass_covers_the_support_set(examples: int, size: int) -> None:
    picked = minibatches(torch.arange(6), support(6, examples), 20, size)
    assert picked.shape == (6, 20, size)
    for order in picked.flatten(1):
        for one_pass in order[: len(order) // examples * examples].split(examples):
            assert sorted(one_pass.tolist()) == list(range(examples))


def test_the_order_is_a_function_of_the_tasks_number() -> None:
    whole = minibatches(torch.arange(10), support(10, 8), 5, 4)
    parts = [minibatches(torch.tensor([number]), support(1, 8), 5, 4) for number in reversed(range(10))]
    assert torch.equal(whole, torch.cat(parts).flip(0))


def test_more_steps_start_with_the_same_minibatches() -> None:
    more, fewer = (minibatches(torch.arange(3), support(3, 8), steps, 3) for steps in (9, 4))
    assert torch.equal(more[:, :4], fewer)


def test_tasks_and_passes_differ() -> None:
    picked = minibatches(torch.arange(50), support(50, 8), 2, 8)
    assert len({tuple(order.tolist()) for order in picked.flatten(0, 1)}) > 90


def test_every_pass_covers_the_examples_and_never_the_padding() -> None:
    sizes = [7, 1, 5, 3]
    picked = minibatches(torch.arange(4), padded(sizes, 7), 9, 4).flatten(1)
    for order, size in zip(picked, sizes, strict=True):
        for one_pass in order[: len(order) // size * size].split(size):
            assert sorted(one_pass.tolist()) == list(range(size))


def test_full_mask_equals_no_mask() -> None:
    whole = minibatches(torch.arange(4), support(4, 6), 5, 4)
    assert torch.equal(minibatches(torch.arange(4), padded([6] * 4, 6), 5, 4), whole)
