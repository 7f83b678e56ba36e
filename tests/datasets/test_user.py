"""Datasets of a user's own class: pure in seed, stream and number, padded where sizes differ, checked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from builders import CPU, build, task_of
from torch.utils._pytree import tree_leaves, tree_map

from metarun.core.errors import UserError
from metarun.core.kinds import Classification, Regression
from metarun.core.tasks import PaddedExamples
from metarun.datasets.base import STREAMS, Dataset
from metarun.datasets.user import UserTaskList, UserTasks
from metarun.engine.evaluation import Evaluator
from metarun.engine.meta_gradient import MetaGradient


@dataclass(kw_only=True)
class Lines(UserTasks):
    shots: int = 3

    kind = Regression()
    input_shape = (1,)

    def task(self, split: str, generator: np.random.Generator) -> Any:
        slope = generator.normal()
        x = generator.uniform(size=self.shots + 4)
        return x[: self.shots], slope * x[: self.shots], x[self.shots :], slope * x[self.shots :]


@dataclass(kw_only=True)
class Wards(Lines):
    """Lines of four slopes that come again."""

    repeats = True

    def task(self, split: str, generator: np.random.Generator) -> Any:
        number = int(generator.integers(4))
        x = generator.uniform(size=self.shots + 4)
        y = (number - 1.5) * x
        return x[: self.shots], y[: self.shots], x[self.shots :], y[self.shots :], number


@dataclass(kw_only=True)
class Uneven(Lines):
    """Between 2 and 5 support examples, 4 queries, a descriptor, three classes."""

    kind = Classification(3)
    input_shape = (2,)
    largest = (5, 4)
    descriptor_size = 2

    def task(self, split: str, generator: np.random.Generator) -> Any:
        n = int(generator.integers(2, 6))
        x, y = generator.normal(size=(n + 4, 2)), generator.integers(0, 3, size=n + 4)
        return x[:n], y[:n], x[n:], y[n:], [n, 1.0]


@dataclass(kw_only=True)
class Patients(UserTaskList):
    patients: int = 4

    kind = Regression()
    input_shape = (1,)

    def tasks(self, split: str) -> list[Any]:
        counts = {"train": self.patients, "val": 2, "test": 3}
        first = {"train": 0, "val": 100, "test": 200}[split]
        return [
            (range(size), np.full(size, number), [0.0, 1.0], [number, number])
            for number in range(first, first + counts[split])
            for size in [1 + number % 3]
        ]


@dataclass(kw_only=True)
class Leaking(Patients):
    """The first of the training's patients are in both other splits, and one more is in these alone."""

    both: int = 2

    def tasks(self, split: str) -> list[Any]:
        one_more = [([5.0], [500.0], [0.0], [500.0])] if split != "train" else []
        return [*super().tasks("train")[: 4 if split == "train" else self.both], *one_more]


def test_equal_tasks_in_two_splits_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        loaded(Patients())
        assert not caplog.records
        loaded(Leaking())
    (record,) = caplog.records
    assert record.getMessage() == (
        "Leaking.tasks: splits share equal tasks (2 in both train and val, 2 in both train and test, 3 in both val and "
        "test); these are not unseen when they are measured"
    )


def loaded(own: Any, seed: int = 0, episode_seed: int = 0) -> Dataset:
    made: Dataset = own.load(seed, CPU, torch.float64, episode_seed)
    return made


@pytest.mark.parametrize("own", [Lines(), Uneven(), Patients()])
@pytest.mark.parametrize("stream", STREAMS)
def test_a_task_depends_on_its_number_alone(own: Any, stream: str) -> None:
    whole = loaded(own).sample(stream, 0, 6)
    for size in (1, 2, 3):
        parts = [loaded(own).sample(stream, index, size) for index in range(6 // size)]
        joined = tree_map(lambda *tensors: torch.cat(tensors), *parts)
        assert all(map(torch.equal, tree_leaves(joined), tree_leaves(whole)))


@pytest.mark.parametrize("own", [Lines(), Uneven()])
def test_streams_and_seeds_share_nothing(own: Any) -> None:
    seen = [loaded(own, seed, seed).sample(stream, 0, 2).query.x for stream in STREAMS for seed in (0, 1)]
    for number, x in enumerate(seen):
        assert not any(torch.equal(x, other) for other in seen[:number])


def test_what_a_class_gives_arrives() -> None:
    tasks = loaded(Lines()).sample("train", 0, 2)
    assert (tasks.support.x.shape, tasks.query.y.shape) == ((2, 3, 1), (2, 4, 1))
    assert tasks.support.x.dtype == tasks.support.y.dtype == torch.float64
    ratio = torch.cat((tasks.support.y / tasks.support.x, tasks.query.y / tasks.query.x), 1)
    assert ratio.std(1).max() < 1e-12
    assert tasks.identity.tolist() == [-1, -1]


def test_tasks_of_different_sizes_are_padded() -> None:
    tasks = loaded(Uneven()).sample("train", 0, 20)
    assert isinstance(tasks.support, PaddedExamples)
    assert isinstance(tasks.query, PaddedExamples)
    assert tasks.support.x.shape == (20, 5, 2)
    assert torch.equal(tasks.support.mask.sum(1), tasks.descriptor[:, 0])
    assert len(set(tasks.descriptor[:, 0].tolist())) > 1
    beyond = tasks.support.mask == 0
    assert not tasks.support.x[beyond].any()
    assert not tasks.support.y[beyond].any()
    assert tasks.query.mask.all()


def test_a_list_is_visited_at_random_in_training_and_once_else() -> None:
    data = loaded(Patients())
    assert (data.known_tasks, data.distinct("train"), data.distinct("val"), data.distinct("test")) == (4, None, 2, 3)
    assert data.distinct("train_eval") == 4
    tasks = data.sample("train", 0, 400)
    assert torch.equal(tasks.query.y[:, 0, 0], tasks.identity.double())
    counts = tasks.identity.bincount(minlength=4)
    assert counts.min() > 70, "each about as often as any other"
    assert data.sample("test", 0, 6).query.y[:, 0, 0].tolist() == [200, 201, 202] * 2
    assert data.sample("test", 0, 3).identity.tolist() == [-1] * 3
    assert data.sample("train_eval", 0, 4).identity.tolist() == [0, 1, 2, 3]
    assert data.summary() == (
        "Patients · up to 3 support and up to 2 query examples      4 meta-train / 2 meta-val / 3 meta-test tasks"
    )


def test_keys_are_the_protocol() -> None:
    assert loaded(Lines(shots=2)).protocol() == {"dataset": "Lines", "shots": 2}


def test_attributes_may_be_properties_and_data_are_read_once() -> None:
    read = []

    @dataclass(kw_only=True)
    class Read(Lines):
        @property
        def kind(self) -> Regression:  # type: ignore[override]
            return Regression(self.shots - 2)

        @property
        def name(self) -> str:
            return "lines read"

        def prepare(self) -> None:
            read.append(self)

    data = loaded(Read(shots=3))
    data.sample("train", 0, 2)
    assert (len(read), data.name, data.kind("test")) == (1, "lines read", Regression(1))


@pytest.mark.parametrize("own", [Lines(), Uneven(), Patients()])
@pytest.mark.parametrize("algorithm", ["maml", "reptile", "anil"])
def test_learners_with_user_data_are_trained_and_evaluated(own: Any, algorithm: str) -> None:
    data = loaded(own)
    learner, phi = build(data, "model=mlp", "model.hidden=[6]", f"algorithm={algorithm}")
    gradient, _ = MetaGradient(learner, None, compiled=False)(phi, data.sample("train", 0, 4))
    assert all(tensor.isfinite().all() for tensor in tree_leaves(gradient))
    assert Evaluator(learner)(phi, data, "test", 5).count == (3 if isinstance(own, Patients) else 5)


@pytest.mark.parametrize(
    ("own", "embedding"), [(Patients(), "learned"), (Uneven(), "descriptor"), (Uneven(), "support")]
)
def test_embeddings_know_its_tasks(own: Any, embedding: str) -> None:
    data = loaded(own)
    learner, phi = build(data, "model=mlp", "model.hidden=[6]", f"embedding={embedding}", "hypernet=film")
    tasks = data.sample("train", 0, 3)
    assert learner.embed(phi, task_of(tasks, 1), testing=True).isfinite().all()


SUPPORT_X, SUPPORT_Y, QUERY_X, QUERY_Y = range(4)


def gives(change: Callable[[list[Any], np.random.Generator], Any], base: type[Any] = Lines, **attributes: Any) -> Any:
    """A dataset whose tasks are changed by a mistake."""

    def task(self: Any, split: str, generator: np.random.Generator) -> Any:
        return change(list(base.task(self, split, generator)), generator)

    return type("Mine", (base,), {"task": task, **attributes})()


def put(place: int, value: Any) -> Callable[[list[Any], Any], Any]:
    return lambda given, generator: [*given[:place], value, *given[place + 1 :]]


MISTAKES: dict[str, tuple[Any, str]] = {
    "nothing": (
        gives(lambda given, _: None),
        "Mine.task('train') of task 0 gave a NoneType, where 4 are expected: supp",
    ),
    "too few": (gives(lambda given, _: given[:3]), "Mine.task('train') of task 0 gave 3 values, where 4 are expected"),
    "a descriptor too much": (gives(lambda given, _: [*given, [1]]), "Mine.task('train') of task 0 gave 5 values"),
    "no descriptor": (
        gives(lambda given, _: given, descriptor_size=2),
        "Mine.task('train') of task 0 gave 4 values, where 5 are expected: support_x, support_y, query_x, query_y, d",
    ),
    "a descriptor of another size": (
        gives(lambda given, _: [*given[:4], [1.0]], Uneven),
        "Mine.task('train') of task 0: descriptor has shape (1, 1), where (n, 2) is expected",
    ),
    "shape": (
        gives(put(QUERY_X, np.zeros((4, 2)))),
        "Mine.task('train') of task 0: query_x has shape (4, 2), where (n, 1) is expected",
    ),
    "not finite": (
        gives(put(SUPPORT_Y, [0, 1, np.inf])),
        "Mine.task('train') of task 0: support_y holds a value that is not finite as float64 (row 2)",
    ),
    "class": (
        gives(lambda given, _: [*given[:QUERY_Y], [0, 1, 2, 3], given[4]], Uneven),
        "Mine.task('train') of task 0: query_y holds class 3; there are 3 classes, 0 to 2",
    ),
    "rows": (gives(put(QUERY_X, [1.0])), "Mine.task('train') of task 0: query_x has 1 rows and Mine.task('train') of"),
    "larger than the largest": (
        gives(lambda given, _: given, Uneven, largest=(5, 3)),
        "Mine.task('train') of task 0 gave (",
    ),
    "largest": (gives(lambda given, _: given, largest=(0, 3)), "Mine.largest = (0, 3): give the most support"),
    "kind": (
        gives(lambda given, _: given, kind=3),
        "Mine.kind = 3: give Classification(ways), Regression(), or a kind",
    ),
    "input shape": (gives(lambda given, _: given, input_shape=3), "Mine.input_shape = 3: give the shape of one input"),
    "descriptor size": (gives(lambda given, _: given, descriptor_size=-1), "Mine.descriptor_size = -1: give a number"),
}


@pytest.mark.parametrize(("own", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_names_the_method(own: Any, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        loaded(own)
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


def test_randomness_from_elsewhere_is_refused() -> None:
    elsewhere = np.random.default_rng(0)
    with pytest.raises(UserError, match="returned a different task when called again for the same one; draw all"):
        loaded(gives(lambda given, _: [*given[:3], elsewhere.normal(size=4)]))


def test_different_sizes_need_largest() -> None:
    def some(given: list[Any], generator: np.random.Generator) -> Any:
        n = int(generator.integers(1, 4))
        return [given[SUPPORT_X][:n], given[SUPPORT_Y][:n], *given[QUERY_X:]]

    data = loaded(gives(some))
    with pytest.raises(UserError, match=r"where tasks differ in size, Mine needs the attribute largest = \(most"):
        data.sample("train", 0, 20)
    assert loaded(gives(some, largest=(3, 4))).sample("train", 0, 20).support.x.shape == (20, 3, 1)


def test_lists_are_checked_too() -> None:
    def listed(tasks: Any) -> Any:
        return type("Mine", (Patients,), {"tasks": lambda self, split: tasks(split)})()

    good = ([1.0], [1.0], [1.0], [1.0])
    with pytest.raises(UserError, match=r"Mine.tasks\('val'\) gave no tasks; each split needs at least one"):
        loaded(listed(lambda split: [good] if split == "train" else []))
    with pytest.raises(UserError, match=r"Mine.tasks\('test'\)\[1\]: query_y holds a value that is not finite"):
        loaded(listed(lambda split: [good, good if split != "test" else (*good[:3], [np.nan])]))
    with pytest.raises(UserError, match=r"Mine.tasks\('train'\) gave a generator, where a list of tasks is expected"):
        loaded(listed(lambda split: (good for _ in range(3))))


def test_missing_methods_are_named() -> None:
    with pytest.raises(TypeError, match=r"abstract method '?task"):
        type("Mine", (UserTasks,), {})()


def test_no_groups_and_no_other_streams() -> None:
    data = loaded(Lines())
    with pytest.raises(ValueError, match="no group 1"):
        data.sample("train", 0, 1, group=1)
    with pytest.raises(ValueError, match="no stream 'tset'"):
        data.sample("tset", 0, 1)


def test_recurring_tasks_have_a_source() -> None:
    data = Wards().load(0, CPU, torch.float64)
    tasks = data.sample("test", 0, 20)
    assert torch.allclose(tasks.query.y[:, 0, 0] / tasks.query.x[:, 0, 0], tasks.source.double() - 1.5)
    learner, phi = build(data, "model=mlp", "model.hidden=[4]", inner_lr=0.01)
    told = Evaluator(learner)(phi, data, "test", 20).summary()["mse"]
    assert (told["episodes"], told["tasks"]) == (20, 4)
    assert Lines().load(0, CPU, torch.float64).sample("test", 0, 3).source.tolist() == [-1] * 3


@pytest.mark.parametrize("number", [-1, 1.0, True, None])
def test_invalid_task_number_is_refused(number: Any) -> None:
    class Wrong(Wards):
        def task(self, split: str, generator: np.random.Generator) -> Any:
            return *super().task(split, generator)[:-1], number

    with pytest.raises(UserError, match=r"number of the task: .* where an integer of at least 0 is expected"):
        Wrong().load(0, CPU, torch.float64)
