"""Meta-train, meta-val and meta-test of a table."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from metarun.core.errors import UserError
from metarun.datasets.table_columns import TaskRows
from metarun.datasets.table_split import divided

FRACTIONS = st.sampled_from([[0.5, 0.25, 0.25], [0.65, 0.1, 0.25], [0.8, 0.1, 0.1], [0.34, 0.33, 0.33]])


def table(task: Sequence[int]) -> TaskRows:
    names = tuple(f"t{number}" for number in range(max(task) + 1))
    nothing = np.zeros(len(task))
    return TaskRows("table.csv", np.array(task), names, nothing[:, None], ("x",), nothing, None)


def scattered(sizes: Sequence[int], seed: int) -> list[int]:
    """Tasks of these sizes, their rows in any order."""
    tasks = [task for task, size in enumerate(sizes) for _ in range(size)]
    return np.random.default_rng(seed).permutation(tasks).tolist()


@given(st.lists(st.integers(6, 30), min_size=2, max_size=6), FRACTIONS, st.integers(0, 99))
def test_every_row_of_a_task_is_in_one_split(sizes: list[int], fractions: list[float], seed: int) -> None:
    task = scattered(sizes, seed)
    order, bounds = divided(table(task), "rows", fractions, seed)
    assert sorted(order.tolist()) == list(range(len(task)))
    for number, size in enumerate(sizes):
        parts = [order[bounds[number, part] : bounds[number, part + 1]].tolist() for part in range(3)]
        assert sorted(itertools.chain(*parts)) == [row for row, own in enumerate(task) if own == number]
        for part, fraction in zip(parts[1:], fractions[1:], strict=True):
            assert abs(len(part) - size * fraction) <= 0.5 or len(part) == 1


@given(st.lists(st.integers(1, 9), min_size=3, max_size=12), FRACTIONS, st.integers(0, 99))
def test_every_task_is_in_one_split(sizes: list[int], fractions: list[float], seed: int) -> None:
    division = divided(table(scattered(sizes, seed)), "tasks", fractions, seed)
    counts = np.diff(division.bounds)
    assert ((counts > 0).sum(1) == 1).all()
    assert counts.sum(1).tolist() == sizes
    assert ((counts > 0).sum(0) >= 1).all()


@given(st.lists(st.integers(6, 30), min_size=3, max_size=6), st.sampled_from(["rows", "tasks"]), st.integers(0, 99))
def test_train_marks_the_rows_of_meta_training(sizes: list[int], split: str, seed: int) -> None:
    division = divided(table(scattered(sizes, seed)), split, [0.5, 0.25, 0.25], seed)
    marked = [row for first, last, *_ in division.bounds.tolist() for row in range(first, last)]
    assert np.flatnonzero(division.train).tolist() == marked


def test_split_does_not_depend_on_other_columns() -> None:
    def first(others: int, seed: int) -> list[int]:
        return divided(table([0] * 8 + [1] * others), "rows", [0.5, 0.25, 0.25], seed).order[:8].tolist()

    assert first(9, 3) == first(20, 3) != first(9, 4)


def test_rows_are_divided_evenly_at_random() -> None:
    """Each of 10 rows is a meta-test row in about 3 of 10 seeds, and tasks do not share their choice."""
    counts, same = np.zeros(10), 0
    for seed in range(400):
        order, bounds = divided(table([0] * 10 + [1] * 10), "rows", [0.5, 0.2, 0.3], seed)
        test = [set((order[bounds[task, 2] : bounds[task, 3]] % 10).tolist()) for task in (0, 1)]
        counts[list(test[0])] += 1
        same += test[0] == test[1]
    assert ((counts - 120) ** 2 / 120).sum() < 27.9  # chi-squared, 9 degrees of freedom, p = .001
    assert same < 20


@pytest.mark.parametrize(
    ("task", "split", "fractions", "message"),
    [
        (
            [0] * 9 + [1] * 9,
            "rows",
            [0.5, 0.5],
            r"dataset\.fractions=\[0\.5,0\.5\]: give three above 0 that add",
        ),
        ([0] * 9 + [1] * 9, "rows", [0.5, 0, 0.5], r"give three above 0"),
        ([0] * 9 + [1] * 9, "rows", [0.5, 0.2, 0.2], r"give three above 0"),
        ([0] * 9, "rows", [0.5, 0.25, 0.25], r"table\.csv: the table has 1 task; dataset\.split=rows needs 2"),
        ([0] * 9 + [1] * 9, "tasks", [0.5, 0.25, 0.25], r"the table has 2 tasks; dataset\.split=tasks needs 3"),
        ([0] * 9 + [1] * 3, "rows", [0.5, 0.25, 0.25], r"task 't1' has 3 rows, too few for .* must leave 2"),
        ([0, 1, 2, 3], "tasks", [0.1, 0.45, 0.45], r"leaves none of the 4 tasks of table\.csv for meta-train"),
    ],
)
def test_what_cannot_be_divided_is_refused(task: list[int], split: str, fractions: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        divided(table(task), split, fractions, 0)


def grouped(groups: Sequence[int]) -> TaskRows:
    """Tasks of two rows each, in these groups."""
    return table([task for task in range(len(groups)) for _ in range(2)])._replace(groups=np.array(groups))


def splits(rows: TaskRows, seed: int, test: list[str] | None = None) -> list[int]:
    """The number of the split that each task is in."""
    bounds = divided(rows, "tasks", [0.5, 0.25, 0.25], seed, test).bounds
    return np.diff(bounds).argmax(1).tolist()


@given(st.lists(st.integers(0, 6), min_size=8, max_size=20), st.integers(0, 99))
def test_groups_are_in_one_split(groups: list[int], seed: int) -> None:
    assume(len(set(groups)) >= 4)
    found = splits(grouped(groups), seed)
    assert all(len({found[task] for task, own in enumerate(groups) if own == group}) == 1 for group in groups)
    assert set(found) == {0, 1, 2}


@given(st.integers(3, 12), st.integers(0, 99))
def test_groups_of_one_change_nothing(tasks: int, seed: int) -> None:
    alone = table([task for task in range(tasks) for _ in range(2)])
    assert splits(alone, seed) == splits(alone._replace(groups=np.arange(tasks)), seed)


@given(st.integers(0, 99))
def test_chosen_test_tasks_bring_their_groups(seed: int) -> None:
    found = splits(grouped([0, 0, 1, 2, 3, 3, 4]), seed, ["t1", "t2"])
    assert [task for task, split in enumerate(found) if split == 2] == [0, 1, 2]
    assert set(found[3:]) == {0, 1}
    assert found[4] == found[5]


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ([], r"dataset\.test_tasks=\[\]: name at least one task"),
        (["t9"], r"table\.csv has no task 't9'"),
        (
            ["t0", "t1", "t2"],
            r"test_tasks=\[t0,t1,t2\]: leaves none of the 4 groups of tasks of table\.csv for meta-train",
        ),
    ],
)
def test_unsuitable_test_tasks_are_refused(test: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        splits(grouped([0, 1, 2, 3]), 0, test)
