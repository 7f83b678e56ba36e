"""Tasks from a table."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tables import load, real_rows, speaking, speaking_rows, write

from metarun.core.errors import UserError
from metarun.core.kinds import Classification, Regression
from metarun.core.tasks import Examples, PaddedExamples, TaskBatch
from metarun.datasets.base import STREAMS

SIZES = [12, 20, 15, 31, 12, 17]
HEADER = ["task", "target", "row", "place", "noise"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return speaking(tmp_path, SIZES)


def tensors(batch: TaskBatch) -> list[torch.Tensor]:
    return [
        *batch.support[:2],
        *batch.query[:2],
        *(part.mask for part in (batch.support, batch.query) if part.mask is not None),
        *batch[2:],
    ]


def first_rows() -> list[int]:
    return [sum(SIZES[:task]) for task in range(len(SIZES))]


@given(
    st.lists(st.integers(8, 20), min_size=3, max_size=5),
    st.sampled_from(["rows", "tasks"]),
    st.sampled_from([None, 1, 2]),
    st.sampled_from([None, 1]),
    st.integers(0, 9),
)
def test_no_query_is_in_the_support_and_no_test_row_is_trained_on(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    split: str,
    shots: int | None,
    queries: int | None,
    seed: int,
) -> None:
    table = load(speaking(tmp_path_factory.mktemp("tables"), sizes), seed, split=split, shots=shots, queries=queries)
    owner = [task for task, size in enumerate(sizes) for _ in range(size)]
    looked_at: dict[str, set[int]] = {stream: set() for stream in STREAMS}
    judged_on: dict[str, set[int]] = {stream: set() for stream in STREAMS}
    for stream in STREAMS:
        batch = table.sample(stream, 1, 12)
        told = table.facts(stream, batch)["task"]
        for task, support, query in zip(
            told, real_rows(table, batch.support), real_rows(table, batch.query), strict=True
        ):
            assert len({*support, *query}) == len(support) + len(query)
            assert {owner[row] for row in (*support, *query)} == {int(task[1:])}
            assert len(support) == shots or shots is None
            assert len(query) == queries or queries is None
            assert support
            assert query
            looked_at[stream] |= {*support, *query}
            judged_on[stream] |= set(query)
    trained = looked_at["train"] | looked_at["train_eval"]
    assert not trained & (judged_on["val"] | judged_on["test"])
    assert not judged_on["test"] & looked_at["val"]
    if split == "tasks":
        assert not (trained | looked_at["val"]) & looked_at["test"]


def test_rows_split_uses_all_permitted_rows(path: Path) -> None:
    table = load(path)
    test, val = table.sample("test", 0, 6), table.sample("val", 0, 6)
    for task, size in enumerate(SIZES):
        mine = set(range(first_rows()[task], first_rows()[task] + size))
        support, query = set(real_rows(table, test.support)[task]), set(real_rows(table, test.query)[task])
        assert support | query == mine
        assert set(real_rows(table, val.support)[task]) | set(real_rows(table, val.query)[task]) == support
        trained = table.sample("train", 0, 40, group=task)
        parts = [set(rows) for part in (trained.support, trained.query) for rows in real_rows(table, part)]
        assert set().union(*parts) == set(real_rows(table, val.support)[task])


def test_stream_order_and_identity_of_rows_split(path: Path) -> None:
    table = load(path)
    assert (table.known_tasks, table.grouped_test) == (6, True)
    assert table.groups == ("t00", "t01", "t02", "t03", "t04", "t05")
    for stream in ("val", "test", "train_eval"):
        assert table.sample(stream, 1, 9).identity.tolist() == [number % 6 for number in range(9, 18)]
    visits = torch.bincount(table.sample("train", 0, 3000).identity, minlength=6)
    assert float(((visits - 500) ** 2 / 500).sum()) < 20.5  # chi-squared, 5 degrees of freedom, p = .001


def test_stream_order_and_identity_of_tasks_split(path: Path) -> None:
    table = load(path, split="tasks")
    assert (table.known_tasks, table.grouped_test) == (3, False)
    names = {stream: table.facts(stream, table.sample(stream, 0, 60))["task"] for stream in STREAMS}
    assert names["train_eval"][:3] == list(table.groups)
    assert set(names["train"]) == set(table.groups)
    assert len({*names["train"], *names["val"], *names["test"]}) == 6
    assert not {*names["train"]} & {*names["val"], *names["test"]}
    for stream in ("val", "test"):
        assert table.sample(stream, 0, 5).identity.tolist() == [-1] * 5
    seen = table.sample("train", 0, 60)
    assert [table.groups[place] for place in seen.identity] == names["train"]
    with pytest.raises(ValueError, match="stream 'test' has no groups"):
        table.sample("test", 0, 1, group=0)


def test_facts_contain_the_rows_of_a_task(path: Path) -> None:
    table = load(path)
    assert table.facts("test", table.sample("test", 0, 6))["rows"] == [str(size) for size in SIZES]
    grouped = table.sample("val", 0, 4, group=3)
    assert table.facts("val", grouped) == {"task": ["t03"] * 4, "rows": ["31"] * 4}


@pytest.mark.parametrize("split", ["rows", "tasks"])
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("sizes", [{}, {"shots": 2, "queries": 1}, {"shots": 2}])
def test_a_task_depends_on_seed_stream_and_number_alone(
    path: Path, split: str, stream: str, sizes: dict[str, int]
) -> None:
    table = load(path, split=split, **sizes)
    group = 1 if split == "rows" or "train" in stream else None
    for chosen in {None, group}:
        six = table.sample(stream, 2, 6, chosen)
        for place in range(6):
            one = load(path, split=split, **sizes).sample(stream, 12 + place, 1, chosen)
            assert all(torch.equal(a[place], b[0]) for a, b in zip(tensors(six), tensors(one), strict=True))


def test_streams_seeds_and_visits_differ(path: Path) -> None:
    table = load(path, shots=3, queries=2)
    supports = [sorted(rows) for rows in real_rows(table, table.sample("train", 0, 40, group=3).support)]
    assert len({tuple(rows) for rows in supports}) > 30
    assert not torch.equal(table.sample("train", 0, 6).support.x, table.sample("train_eval", 0, 6).support.x)
    assert not torch.equal(table.sample("train", 0, 6).number, table.sample("train", 1, 6).number)
    other = load(path, seed=1, shots=3, queries=2)
    assert real_rows(table, table.sample("test", 0, 6).query) != real_rows(other, other.sample("test", 0, 6).query)


def test_each_row_of_a_pool_is_drawn_equally_often(path: Path) -> None:
    table = load(path, split="tasks", fractions=[0.5, 0.2, 0.3])
    largest = max(range(3), key=lambda group: SIZES[int(table.groups[group][1:])])
    size = SIZES[int(table.groups[largest][1:])]
    batch = table.sample("train", 0, 3000, group=largest)
    drawn = torch.tensor(real_rows(table, batch.support)).flatten()
    counts = torch.bincount(drawn - drawn.min(), minlength=size).double()
    expected = 3000 * (size // 2) / size
    assert len(counts) == size
    assert float(((counts - expected).abs() / expected).max()) < 0.1


def test_different_sizes_are_padded_with_zeros(path: Path) -> None:
    table = load(path)
    batch = table.sample("train", 0, 50)
    for part in (batch.support, batch.query):
        assert isinstance(part, PaddedExamples)
        assert part.mask.dtype == part.x.dtype
        assert 0 < float(part.mask.mean()) < 1
        assert not part.x[part.mask == 0].any()
        assert not part.y[part.mask == 0].any()
        assert bool((part.mask.diff(dim=1) <= 0).all())  # what fills up comes last
        assert part.x.isfinite().all()
    widths = {table.sample("train", index, 1).support.x.shape[1] for index in range(20)}
    assert widths == {batch.support.x.shape[1]}  # whatever tasks are in a batch


def test_equal_sizes_are_not_padded(path: Path) -> None:
    table = load(path, shots=2, queries=1, train_shots=3)
    for stream, shots in (("train", 3), ("train_eval", 2), ("val", 2), ("test", 2)):
        batch = table.sample(stream, 0, 4)
        assert isinstance(batch.support, Examples)
        assert isinstance(batch.query, Examples)
        assert batch.support.x.shape == (4, shots, 3)
        assert batch.query.y.shape == (4, 1, 1)
    rest = load(path, shots=2).sample("test", 0, 6)
    assert isinstance(rest.support, Examples)
    assert isinstance(rest.query, PaddedExamples)
    assert rest.query.mask.sum(1).tolist() == [round(0.3 * size + 1e-9) for size in SIZES]


def test_null_means_half_each_or_the_rest(path: Path) -> None:
    def taken(**sizes: Any) -> list[tuple[int, int]]:
        table = load(path, split="tasks", **sizes)
        batch = table.sample("train_eval", 0, 3)
        parts = (real_rows(table, batch.support), real_rows(table, batch.query))
        return [(len(support), len(query)) for support, query in zip(*parts, strict=True)]

    table = load(path, split="tasks")
    rows = [SIZES[int(name[1:])] for name in table.groups]
    assert taken() == [(size // 2, size - size // 2) for size in rows]
    assert taken(shots=5) == [(5, size - 5) for size in rows]
    assert taken(queries=4) == [(size - 4, 4) for size in rows]
    assert taken(shots=5, queries=4) == [(5, 4)] * 3
    assert load(path, shots=2, queries=1, train_queries=4).sample("train", 0, 2).query.x.shape[1] == 4


@pytest.mark.parametrize("split", ["rows", "tasks"])
def test_training_tensors_do_not_know_test_rows(tmp_path: Path, split: str) -> None:
    """Features and targets of meta-val and meta-test rows are changed beyond recognition."""
    before = load(speaking(tmp_path, SIZES), split=split)
    tests, vals = before.sample("test", 0, 6), before.sample("val", 0, 6)
    unseen = {row for batch in (tests, vals) for rows in real_rows(before, batch.query) for row in rows}
    if split == "tasks":
        unseen |= {row for batch in (tests, vals) for rows in real_rows(before, batch.support) for row in rows}
    rows = speaking_rows(SIZES)
    for row in unseen:
        rows[row][1:3] = [1e6 + row, -1e7 * (row + 1)]
        rows[row][4] = 1e5
    after = load(write(tmp_path / "changed.csv", HEADER, rows), split=split)
    for stream in ("train", "train_eval"):
        pairs = zip(tensors(before.sample(stream, 0, 30)), tensors(after.sample(stream, 0, 30)), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert (before.target_mean, before.target_std) == (after.target_mean, after.target_std)
    assert not torch.equal(before.sample("test", 0, 6).query.x, after.sample("test", 0, 6).query.x)


@pytest.mark.parametrize("split", ["rows", "tasks"])
def test_meta_train_rows_have_mean_0_and_deviation_1(path: Path, split: str) -> None:
    table = load(path, split=split)
    rows = {}
    for index in range(20):
        batch = table.sample("train_eval", index, len(table.groups))
        for part in (batch.support, batch.query):
            for numbers, x, y, mask in zip(real_rows(table, part), part.x, part.y, part.mask, strict=True):
                for place, number in enumerate(numbers):
                    rows[number] = torch.cat([x[mask > 0][place], y[mask > 0][place]])
    seen = torch.stack(list(rows.values()))
    torch.testing.assert_close(seen.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(seen.std(0, correction=0), torch.ones(4, dtype=torch.float64))


def test_constant_column_in_meta_training_is_zero(tmp_path: Path) -> None:
    rows = [[*row[:4], 0.1] for row in speaking_rows(SIZES)]
    table = load(write(tmp_path / "table.csv", HEADER, rows))
    assert not table.sample("train", 0, 9).support.x[..., 2].any()
    assert table.sample("train", 0, 9).support.x.isfinite().all()
    before = load(speaking(tmp_path, SIZES))
    unseen = {row for query in real_rows(before, before.sample("test", 0, 6).query) for row in query}
    for row in unseen:
        rows[row][4] = 5e4
    table = load(write(tmp_path / "table.csv", HEADER, rows))
    assert not table.sample("test", 0, 6).query.x[..., 2].any()


def test_descriptor_contains_constants_within_tasks(path: Path) -> None:
    table = load(path)
    assert table.descriptor_size == 1
    descriptor = table.sample("test", 0, 6).descriptor[:, 0]
    expected = torch.tensor([0.0, 1, 2, 0, 1, 2], dtype=torch.float64)
    torch.testing.assert_close(descriptor, (expected - 1) / (2 / 3) ** 0.5)  # over tasks, whatever their rows
    divided = load(path, split="tasks")
    trained = divided.sample("train_eval", 0, 3).descriptor
    torch.testing.assert_close(trained.mean(), torch.tensor(0.0, dtype=torch.float64), atol=1e-12, rtol=0)
    assert divided.sample("train", 0, 4).support.x.shape[-1] == 3  # it stays a feature


def test_a_table_without_such_columns_has_no_descriptor(path: Path) -> None:
    table = load(path, features=["noise"])
    assert table.descriptor_size == 0
    assert table.sample("val", 0, 3).descriptor.shape == (3, 0)


def test_classification(tmp_path: Path) -> None:
    rows = [[task, "yes" if int(str(row)) % 2 else "no", row, *rest] for task, _, row, *rest in speaking_rows(SIZES)]
    table = load(write(tmp_path / "table.csv", HEADER, rows), kind="classification", shots=3, queries=2)
    assert table.kind("train") == table.kind("test") == Classification(2)
    batch = table.sample("test", 0, 6)
    assert batch.support.y.dtype == torch.int64
    assert batch.support.y.shape == (6, 3)
    assert set(batch.support.y.flatten().tolist()) == {0, 1}
    raw = load(write(tmp_path / "table.csv", HEADER, speaking_rows(SIZES)), shots=3, queries=2)
    expected = [[row % 2 for row in rows] for rows in real_rows(raw, raw.sample("test", 0, 6).support)]
    assert batch.support.y.tolist() == expected
    padded = load(write(tmp_path / "table.csv", HEADER, rows), kind="classification", split="tasks").sample(
        "train", 0, 8
    )
    assert isinstance(padded.query, PaddedExamples)
    assert padded.query.y.dtype == torch.int64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shots": 7}, r"dataset\.shots=7 and dataset\.queries=null need 8 rows .* task 't00' has 6 for meta-train"),
        ({"queries": 5}, r"dataset\.queries=5: task 't00' has 2 such rows for meta-val; choose up to 2, null for all"),
        ({"queries": 3}, r"dataset\.queries=3: task 't00' has 2 such rows for meta-val"),
        (
            {"train_shots": 4, "train_queries": 3},
            r"dataset\.train_shots=4 and dataset\.train_queries=3 need 7 .* choose train_shots \+ train_queries up to",
        ),
        (
            {"split": "tasks", "train_shots": 1, "train_queries": 1, "shots": 30, "queries": 5},
            r"dataset\.shots=30 and dataset\.queries=5 need 35 rows of a task, but task 't\d\d' has .* for meta",
        ),
        ({"fractions": [1.0]}, r"dataset\.fractions=\[1\]: give three"),
    ],
)
def test_tasks_with_too_few_rows_are_refused(path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(path, **changes)
    assert "\n" not in str(caught.value)


def test_a_task_of_one_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"task 't01' has 1 for meta-\w+; leave the task out of .*table\.csv"):
        load(speaking(tmp_path, [5, 1, 5, 5]), split="tasks", fractions=[0.5, 0.25, 0.25])


def test_constant_target_is_refused(tmp_path: Path) -> None:
    rows = [[row[0], 3, *row[2:]] for row in speaking_rows(SIZES)]
    with pytest.raises(UserError, match=r"the target is 3 in all meta-train rows"):
        load(write(tmp_path / "table.csv", HEADER, rows))


def test_a_value_beyond_the_precision_is_refused(tmp_path: Path) -> None:
    rows = speaking_rows(SIZES)
    before = load(speaking(tmp_path, SIZES))
    rows[real_rows(before, before.sample("test", 0, 1).query)[0][0]][4] = 1e90
    path = write(tmp_path / "changed.csv", HEADER, rows)
    assert load(path).inputs.shape == (3,)
    with pytest.raises(UserError, match=r"column 'noise' has a value far outside"):
        load(path, dtype=torch.float32)


@pytest.mark.parametrize("value", [1e30, -1e60])
def test_a_target_beyond_the_precision_is_refused(tmp_path: Path, value: float) -> None:
    """Of 1e30 the square alone is beyond it."""
    rows = speaking_rows(SIZES)
    before = load(speaking(tmp_path, SIZES))
    rows[real_rows(before, before.sample("test", 0, 1).query)[0][0]][1] = value
    path = write(tmp_path / "changed.csv", HEADER, rows)
    assert float(load(path).sample("test", 0, 1).query.y.abs().max()) > 1e25
    with pytest.raises(UserError) as refusal:
        load(path, dtype=torch.float32)
    assert str(refusal.value) == f"{path}: the target {value:g} is far outside the range of meta-training"


def test_tasks_with_all_rows_are_equal_at_every_visit(path: Path) -> None:
    table = load(path)
    for stream in ("val", "test"):
        assert table.distinct(stream) == 6
        assert table.distinct(stream, 4) == 1
        first, second = table.sample(stream, 0, 6), table.sample(stream, 1, 6)
        alone = table.sample(stream, 3, 2, group=4)
        for part in ("support", "query"):
            rows = [sorted(held) for held in real_rows(table, getattr(first, part))]
            assert [sorted(held) for held in real_rows(table, getattr(second, part))] == rows
            assert [sorted(held) for held in real_rows(table, getattr(alone, part))] == [rows[4]] * 2
    assert table.distinct("train") is table.distinct("train_eval") is table.distinct("train", 4) is None


@pytest.mark.parametrize(
    ("changes", "distinct"),
    [
        ({"train_shots": 1, "train_queries": 1}, {"val": 6, "test": 6}),
        ({"shots": 2}, {"val": None, "test": None}),
        ({"queries": 1}, {"val": None, "test": None}),
        ({"split": "tasks"}, {"val": None, "test": None}),
        ({"split": "tasks", "shots": 2, "queries": 3}, {"val": None, "test": None}),
    ],
)
def test_where_rows_are_drawn_tasks_have_no_end(
    path: Path, changes: dict[str, Any], distinct: dict[str, int | None]
) -> None:
    table = load(path, **changes)
    assert {stream: table.distinct(stream) for stream in distinct} == distinct
    assert table.distinct("train") is table.distinct("train_eval") is None


def test_queries_of_all_rows_are_deterministic(tmp_path: Path) -> None:
    even = speaking(tmp_path, [10] * 4)  # 6 rows for meta-train, 2 for meta-val, 2 for meta-test
    for queries, distinct in ((2, 4), (1, None)):
        table = load(even, queries=queries, fractions=[0.6, 0.2, 0.2])
        assert table.distinct("val") == table.distinct("test") == distinct


@pytest.mark.parametrize("group", [-1, 6])
def test_unknown_group_or_stream_is_refused(path: Path, group: int) -> None:
    with pytest.raises(ValueError, match="no group"):
        load(path).sample("train", 0, 1, group)
    with pytest.raises(ValueError, match="no group"):
        load(path).distinct("test", group)
    with pytest.raises(ValueError, match="no stream 'meta-train'"):
        load(path).sample("meta-train", 0, 1)
    with pytest.raises(ValueError, match="no stream 'meta-train'"):
        load(path).distinct("meta-train")
    with pytest.raises(ValueError, match="stream 'test' has no groups"):
        load(path, split="tasks").distinct("test", 0)


def test_summary_and_protocol(path: Path) -> None:
    table = load(path)
    assert table.kind("test") == Regression()
    assert table.inputs.shape == (3,)
    assert table.feature_names == ("row", "place", "noise")
    assert table.summary() == (
        "table · all-shot · all queries (trained half of a task's rows to adapt on)      "
        "54 meta-train / 20 meta-val / 33 meta-test rows of 6 tasks, 3 features (1 of the task)"
    )
    assert load(path, split="tasks", shots=2, queries=3).summary() == (
        "table · 2-shot · 3 queries      3 meta-train / 1 meta-val / 2 meta-test tasks, 3 features (1 of the task)"
    )
    protocol = table.protocol()
    assert protocol["file"] == "table.csv"
    assert protocol["target"] == {"mean": table.target_mean, "std": table.target_std}
    assert protocol["tasks"] == {"train": 6, "val": 6, "test": 6}
    assert protocol["standardized"] == "by mean and standard deviation of the meta-train rows"
