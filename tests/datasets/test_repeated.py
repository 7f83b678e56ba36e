"""The first tasks come again and again, however they are batched."""

import torch
from builders import waves
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._pytree import tree_leaves

from metarun.datasets.repeated import Repeated

TASKS = waves()


@given(st.integers(1, 9), st.integers(0, 7), st.integers(1, 9))
def test_task_n_is_task_n_modulo_their_count(count: int, index: int, tasks: int) -> None:
    batch = Repeated(TASKS, count).sample("train", index, tasks)
    numbers = (index * tasks + torch.arange(tasks)) % count
    assert batch.number.tolist() == numbers.tolist()
    first = TASKS.sample("train", 0, count)
    for leaf, wanted in zip(tree_leaves(batch), tree_leaves(first), strict=True):
        assert leaf.equal(wanted[numbers])
