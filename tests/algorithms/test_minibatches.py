"""The order in which inner steps see a support set."""

import pytest
import torch

from metarun.algorithms.minibatches import minibatches


@pytest.mark.parametrize(("examples", "size"), [(10, 5), (7, 3), (4, 10), (5, 5)])
def test_every_pass_covers_the_support_set(examples: int, size: int) -> None:
    picked = minibatches(torch.arange(6), examples, 20, size)
    assert picked.shape == (6, 20, size)
    for order in picked.flatten(1):
        for one_pass in order[: len(order) // examples * examples].split(examples):
            assert sorted(one_pass.tolist()) == list(range(examples))


def test_the_order_is_a_function_of_the_tasks_number() -> None:
    whole = minibatches(torch.arange(10), 8, 5, 4)
    parts = [minibatches(torch.tensor([number]), 8, 5, 4) for number in reversed(range(10))]
    assert torch.equal(whole, torch.cat(parts).flip(0))


def test_more_steps_begin_alike() -> None:
    assert torch.equal(minibatches(torch.arange(3), 8, 9, 3)[:, :4], minibatches(torch.arange(3), 8, 4, 3))


def test_tasks_and_passes_differ() -> None:
    picked = minibatches(torch.arange(50), 8, 2, 8)
    assert len({tuple(order.tolist()) for order in picked.flatten(0, 1)}) > 90
