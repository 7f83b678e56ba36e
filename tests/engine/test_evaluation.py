"""Fixed episodes and their interval."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from builders import CONV, CPU, Blobs, build, settings, task_of

from metarun.core.kinds import Classification
from metarun.core.tasks import TaskBatch
from metarun.datasets.base import Seeds
from metarun.datasets.sinusoid import Sinusoid
from metarun.engine.baselines import baselines
from metarun.engine.evaluation import EvaluationResult, Evaluator, half_width
from metarun.engine.processes.single import SINGLE_PROCESS, Processes
from metarun.setup import assemble


def test_the_interval_is_over_episodes() -> None:
    values = torch.tensor([0.2, 0.4, 0.6, 0.8, 1.0, 0.0, 0.5, 0.5, 0.7, 0.3, 0.5], dtype=torch.float64)
    deviation = (sum((v - 0.5) ** 2 for v in values.tolist()) / 10) ** 0.5
    assert half_width(values) == pytest.approx(2.228139 * deviation / 11**0.5, rel=1e-6)


def test_the_interval_covers_the_mean_19_times_in_20() -> None:
    torch.manual_seed(0)
    samples = torch.randn(4000, 12, dtype=torch.float64)
    covered = sum(abs(row.mean().item()) <= half_width(row) for row in samples) / len(samples)
    assert 0.94 < covered < 0.96


def test_episodes_do_not_depend_on_how_many_run_at_once() -> None:
    learner, phi = build(Blobs(), *CONV, "algorithm=reptile", inner_lr=0.01, test_steps=3)
    whole = Evaluator(learner)(phi, Blobs(), "test", 7)
    for chunk in (1, 3, 7, 20):
        curves = Evaluator(learner, chunk)(phi, Blobs(), "test", 7).curves
        torch.testing.assert_close(curves, whole.curves, rtol=0, atol=1e-9)
    assert whole.count == 7
    assert whole.curves["accuracy"].shape == (7, 4)


def test_an_episode_is_its_tasks_curve() -> None:
    learner, phi = build(Blobs(), *CONV, inner_steps=2, test_steps=None)
    episodes = Evaluator(learner)(phi, Blobs(), "test", 5)
    tasks = Blobs().sample("test", 0, 5)
    for number in range(5):
        for metric, values in learner.curve(phi, task_of(tasks, number), {})[0].items():
            torch.testing.assert_close(episodes.curves[metric][number], values, rtol=0, atol=1e-9)


@pytest.mark.parametrize("chunk", [1, 3, 20])
def test_answers_match_the_accuracy(chunk: int) -> None:
    learner, phi = build(Blobs(), *CONV)
    episodes = Evaluator(learner, chunk)(phi, Blobs(), "test", 7, whole_curve=False)
    label, guess = episodes.answers["label"], episodes.answers["guess"]
    assert label.shape == guess.shape == (7, 6)
    accuracy = (label == guess).double().mean(1)
    assert torch.equal(accuracy, episodes.final("accuracy"))
    assert 0 < accuracy.mean() < 1
    assert torch.equal(episodes.classes, Blobs().sample("test", 0, 7).classes)


def test_progress_counts_to_the_number_of_episodes() -> None:
    learner, phi = build(Blobs(), *CONV)
    told: list[int] = []
    Evaluator(learner, 3)(phi, Blobs(), "val", 7, progress=told.append)
    assert told == [3, 6, 7]


def test_last_point_equals_that_of_the_curve() -> None:
    learner, phi = build(Blobs(), *CONV)
    whole = Evaluator(learner, 3)(phi, Blobs(), "val", 7)
    last = Evaluator(learner, 3)(phi, Blobs(), "val", 7, whole_curve=False)
    for metric, values in whole.curves.items():
        assert values.shape[1] > 1
        assert torch.equal(last.curves[metric], values[:, -1:])


def test_summary_and_adaptation() -> None:
    torch.manual_seed(0)
    curve = torch.rand(50, 3, dtype=torch.float64)
    episodes = EvaluationResult({"mse": curve})
    summary = episodes.summary()["mse"]
    half = half_width(curve[:, 2])
    assert summary == {"mean": curve[:, 2].mean().item(), "ci95": half, "episodes": 50, "tasks": 50}
    adaptation = episodes.adaptation()["mse"]
    assert adaptation["mean"] == curve.mean(0).tolist()
    assert adaptation["ci95"][-1] == summary["ci95"]


def test_repeated_episodes_are_not_counted_twice() -> None:
    class Few(Blobs):
        def distinct(self, stream: str, group: int | None = None) -> int | None:
            return 5

    learner, phi = build(Few(), *CONV)
    told: list[int] = []
    assert Evaluator(learner, 4)(phi, Few(), "test", 40, progress=told.append).count == 5
    assert told == [4, 5]


def test_a_single_episode_has_no_interval() -> None:
    assert math.isnan(half_width(torch.tensor([0.5])))


class Far(Sinusoid):
    """Sine waves of small amplitude far from 0."""

    def sample(self, stream: str, index: int, tasks: int, group: int | None = None) -> TaskBatch:
        batch = super().sample(stream, index, tasks, group)
        support, query = (part._replace(y=1e4 + 0.1 * part.y) for part in (batch.support, batch.query))
        return batch._replace(support=support, query=query)


class Turn(Processes):
    """One of two processes that take turns; ``table`` holds what each of them had at its latest turn."""

    count = 2

    def __init__(self, rank: int, table: dict[int, list[Any]]) -> None:
        self.rank, self._table = rank, table

    def all_gather(self, parts: list[Any], count: int) -> list[Any]:
        self._table[self.rank] = parts
        turns = zip(self._table[0], self._table.get(1, parts), strict=True)
        return [part for turn in turns for part in turn][:count]


@pytest.mark.parametrize("chunk", [None, 1, 4, 11])
@pytest.mark.parametrize("processes", [1, 2])
def test_explained_variance_does_not_cancel_for_any_distribution(chunk: int | None, processes: int) -> None:
    """In float32, at a mean of the targets 1e5 times their spread, against NumPy in float64."""
    dataset = Far(settings("dataset=sinusoid", "dataset.queries=6").dataset, Seeds(0, 0), CPU, torch.float32)
    learner, phi = assemble.compose(
        settings("model=mlp", "model.hidden=[8]", "algorithm=scratch", "likelihood=squared"), dataset, CPU
    )
    phi["theta"]["head.bias"] += 1e4  # so that errors are as small as the spread

    def measured(process: Processes) -> EvaluationResult:
        return Evaluator(learner, chunk, processes=process)(phi, dataset, "test", 11)

    table: dict[int, list[Any]] = {}
    group = [Turn(rank, table) for rank in (0, 1, 0)] if processes == 2 else [SINGLE_PROCESS]
    *_, found = map(measured, group)
    truth = dataset.sample("test", 0, 11).query.y.double().numpy()
    errors = (found.final("mse") * truth[0].size).sum().item()
    wanted = 1 - errors / np.square(truth - truth.mean()).sum()
    assert abs(wanted) < 100
    assert found.pooled["explained_variance"] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("processes", [1, 2])
def test_baselines_are_measured_on_the_same_episodes(chunk: int | None, processes: int) -> None:
    dataset = Blobs()
    learner, phi = build(dataset, *CONV)

    def measured(process: Processes) -> EvaluationResult:
        return Evaluator(learner, chunk, processes=process)(
            phi, dataset, "test", 7, whole_curve=False, with_baselines=True
        )

    table: dict[int, list[Any]] = {}
    *_, found = map(measured, [Turn(rank, table) for rank in (0, 1, 0)] if processes == 2 else [SINGLE_PROCESS])
    assert found.baselines.keys() == {"nearest_centroid", "nearest_neighbor", "majority_class"}
    for name, values in baselines(Classification(3), dataset.sample("test", 0, 7)).items():
        torch.testing.assert_close(found.baselines[name], values)
    assert Evaluator(learner)(phi, dataset, "test", 3, whole_curve=False).baselines == {}
