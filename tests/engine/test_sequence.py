"""Groups of tasks one after another, and what is forgotten of them."""

import pytest
import torch
from builders import CPU, build, settings
from hypothesis import given
from hypothesis import strategies as st

from metarun.engine.evaluation import Evaluator
from metarun.engine.sequence import Sequence, by_group


@given(st.integers(1, 12), st.integers(0, 60))
def test_groups_come_in_order_and_share_the_steps_evenly(groups: int, more: int) -> None:
    steps = groups + more
    sequence = Sequence(groups, steps)
    order = [sequence.group(step) for step in range(steps)]
    assert order == sorted(order)
    assert set(order) == set(range(groups))
    counts = [order.count(group) for group in range(groups)]
    assert max(counts) - min(counts) <= 1
    assert [step for step in range(steps) if sequence.begins(step)] == [order.index(group) for group in range(groups)]


@given(st.integers(1, 12), st.integers(0, 60))
def test_each_group_counts_its_own_steps(groups: int, more: int) -> None:
    steps = groups + more
    sequence = Sequence(groups, steps)
    order = [sequence.group(step) for step in range(steps)]
    expected = [(step - order.index(group), order.count(group)) for step, group in enumerate(order)]
    assert [sequence.within(step) for step in range(steps)] == expected


def test_without_groups_there_is_one_schedule() -> None:
    assert [Sequence(0, 5).within(step) for step in range(5)] == [(step, 5) for step in range(5)]


def test_without_groups_every_step_takes_tasks_of_all() -> None:
    sequence = Sequence(0, 5)
    assert [sequence.group(step) for step in range(5)] == [None] * 5
    assert not any(sequence.begins(step) for step in range(5))


def test_a_row_of_the_matrix_measures_each_group_by_itself() -> None:
    dataset = settings("dataset=polynomials").dataset.load(0, CPU, torch.float64)
    learner, phi = build(dataset, "model=mlp", "model.hidden=[6]")
    row = by_group(Evaluator(learner), phi, dataset, 5)
    assert len(row) == len(dataset.groups) == 3
    for group in range(3):
        tasks = dataset.sample("val", 0, 5, group)
        assert tasks.identity.tolist() == [group] * 5
        alone = Evaluator(learner)(phi, dataset, "val", 5, group=group).mean("mse")
        assert row[group] == pytest.approx(alone, rel=1e-12)
    assert len(set(row)) == 3
