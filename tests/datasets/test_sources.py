"""Which task an episode is a visit to, and that intervals count tasks, not visits."""

from pathlib import Path

import numpy as np
import pytest
import torch
from builders import Blobs, build, waves
from known_functions import polynomials
from scipy import stats
from tables import load, speaking

from metarun.datasets.base import STREAMS, task_names
from metarun.engine.evaluation import Evaluator

SIZES = [12, 20, 15, 31, 12, 17, 14, 14]


@pytest.mark.parametrize("split", ["rows", "tasks"])
def test_a_tables_episodes_name_their_tasks(tmp_path: Path, split: str) -> None:
    table = load(speaking(tmp_path, SIZES), split=split, shots=2, queries=1)
    for stream in STREAMS:
        batch = table.sample(stream, 0, 20)
        told = [task_names(table, stream)[source] for source in batch.source.tolist()]
        assert told == table.facts(stream, batch)["task"]
        assert len(set(told)) > 1


def test_known_functions_have_sources_and_fresh_ones_have_none() -> None:
    assert polynomials().sample("test", 0, 5).source.tolist() == [0, 1, 2, 0, 1]
    assert task_names(polynomials(), "val") == ("x + 3", "2x^2 - 1", "x^3 - 9x^2 + 27x - 27")
    assert waves().sample("test", 0, 3).source.tolist() == [-1] * 3
    assert task_names(waves(), "test") == ()


@pytest.mark.parametrize("split", ["rows", "tasks"])
def test_an_interval_counts_tasks_and_not_visits(tmp_path: Path, split: str) -> None:
    table = load(speaking(tmp_path, SIZES), split=split, shots=2, queries=1, fractions=[0.5, 0.25, 0.25])
    learner, phi = build(table, "model=mlp", "model.hidden=[8]", inner_lr=0.01)
    tasks = 8 if split == "rows" else 2
    episodes = Evaluator(learner, 16)(phi, table, "test", 80)
    told = episodes.summary()["mse"]
    by_task = episodes.final("mse").view(-1, tasks).mean(0).numpy()
    assert (told["episodes"], told["tasks"]) == (80, tasks)
    assert told["ci95"] == pytest.approx(stats.t.ppf(0.975, tasks - 1) * stats.sem(by_task))
    curve = episodes.adaptation()["mse"]
    before = episodes.curves["mse"][:, 0].view(-1, tasks).mean(0).numpy()
    assert curve["ci95"][0] == pytest.approx(stats.t.ppf(0.975, tasks - 1) * stats.sem(before))
    assert curve["ci95"][-1] == told["ci95"]
    assert "classes" not in told


def test_one_task_visited_again_and_again_has_no_interval(tmp_path: Path) -> None:
    table = load(speaking(tmp_path, SIZES), split="rows", shots=2, queries=1)
    learner, phi = build(table, "model=mlp", "model.hidden=[8]", inner_lr=0.01)
    told = Evaluator(learner)(phi, table, "test", 12, group=3).summary()["mse"]
    assert (told["episodes"], told["tasks"]) == (12, 1)
    assert np.isnan(told["ci95"])


def test_episodes_report_the_number_of_classes() -> None:
    learner, phi = build(Blobs(), "model=conv4", "model.channels=4", "model.layers=2")
    episodes = Evaluator(learner)(phi, Blobs(), "test", 60, whole_curve=False)
    told = episodes.summary()["accuracy"]
    assert (told["episodes"], told["tasks"]) == (60, 60)
    assert told["classes"] == len(episodes.classes.unique()) == Blobs.classes
    assert told["ci95"] == pytest.approx(stats.t.ppf(0.975, 59) * stats.sem(episodes.final("accuracy").numpy()))
    others = episodes.other_classes("accuracy")
    assert others is not None
    assert told["ci95_classes"] == others.half


def test_sources_that_only_some_tasks_have_are_not_mixed_up_with_others() -> None:
    from metarun.engine.evaluation import task_numbers

    assert task_numbers(torch.tensor([-1, -1])) == [0, 1]
    assert task_numbers(torch.tensor([1, -1, 1, -1])) == [1, -2, 1, -4]
