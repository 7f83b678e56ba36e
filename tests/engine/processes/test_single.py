"""Distributing meta-batches and chunks over processes, and collective operations."""

import time
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import CONV, HYPERNET, MLP, Blobs, build, moved, settings, waves
from process_groups import launched

from metarun.algorithms.base import Learned
from metarun.algorithms.outer_loop import TaskSelection
from metarun.datasets.base import Dataset
from metarun.engine.evaluation import Evaluator
from metarun.engine.meta_gradient import MetaGradient
from metarun.engine.processes.group import ProcessGroup, joined
from metarun.engine.processes.single import SINGLE_PROCESS, Processes
from metarun.engine.selection import Selector
from metarun.learner.learner import Learner, MetaParameters
from metarun.training.outer_optimizer import OuterOptimizer

SETS = ((1, 1), (4, 2), (5, 2), (7, 3), (3, 3))
"""Number of tasks, number of processes."""


def one_of(rank: int, count: int) -> Processes:
    """A process with this rank and count, without the others."""
    process = Processes()
    process.rank, process.count = rank, count
    return process


@pytest.mark.parametrize(("tasks", "count"), SETS)
def test_slices_are_a_partition_in_order(tasks: int, count: int) -> None:
    slices = [range(tasks)[one_of(rank, count).local_slice(tasks)] for rank in range(count)]
    assert list(chain(*slices)) == list(range(tasks))
    assert len(slices[0]) - min(map(len, slices)) <= 1
    assert len(slices[0]) == max(map(len, slices)), "what fits into the memory of the first fits into that of all"


@pytest.mark.parametrize(("items", "count"), [*SETS, (1, 3), (4, 3)])
def test_items_are_distributed_round_robin(items: int, count: int) -> None:
    items_by_rank = [one_of(rank, count).local_items(range(items)) for rank in range(count)]
    assert len({len(part) for part in items_by_rank}) == 1
    assert list(chain(*zip(*items_by_rank, strict=True)))[:items] == list(range(items))


@pytest.mark.parametrize(("tasks", "count"), SETS)
@pytest.mark.parametrize("dataset", [waves(), Blobs(known=4)], ids=["waves", "blobs"])
def test_samples_are_slices_of_one_meta_batch(dataset: Dataset, tasks: int, count: int) -> None:
    whole = dataset.sample("train", 5, tasks, None)
    parts = [one_of(rank, count).sample(dataset, "train", 5, tasks, None) for rank in range(count)]
    assert torch.cat([part.number for part in parts]).equal(whole.number)
    assert torch.cat([part.query.x for part in parts]).equal(whole.query.x)
    assert torch.cat([part.support.y for part in parts]).equal(whole.support.y)
    assert torch.cat([part.identity for part in parts]).equal(whole.identity)


def ragged(number: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Part ``number`` of something, in single precision and in whole numbers."""
    rows = 3 - number % 2
    numbers = torch.arange(rows) + 10 * number
    return {"values": torch.rand(rows, 2, generator=torch.Generator().manual_seed(number))}, numbers


def exchange() -> None:
    """Everything that a group exchanges, in a process of three."""
    with joined() as group:
        entered = time.monotonic()
        with group.main_process_first():
            if group.is_main_process:
                time.sleep(0.5)
        waited = time.monotonic() - entered
        tree = {"a": torch.full((2, 2), 1.0 + group.rank, dtype=torch.float64), "b": torch.tensor(float(group.rank))}
        summed = group.all_reduce(tree, 0.5, asked=False)
        quiet = group.should_stop(True)
        group.all_reduce(tree, 0.5, asked=group.rank == 1)
        group.broadcast(tree)
        found = {
            "waited": waited,
            "summed": summed,
            "stopping": [quiet, group.should_stop(False)],
            "any": [group.any(False), group.any(group.rank == 2), group.any(True)],
            "told": group.broadcast_text("größer" if group.is_main_process else ""),
            "followed": tree,
            "gathered": {
                count: group.all_gather([ragged(n) for n in group.local_items(range(count))], count) for count in (1, 7)
            },
            "launcher": group.launcher,
        }
        torch.save(found, f"{group.rank}.pt")


def load(rank: int) -> Any:
    return torch.load(f"{rank}.pt", weights_only=True)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in; beside it, one for what processes tell."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "output"


def test_collective_operations(here: Path) -> None:
    launched(3, here, exchange)
    found = [load(rank) for rank in range(3)]
    assert all(each["waited"] >= 0.4 for each in found), "the first goes ahead, and the others wait for it"
    for each in found:
        assert each["summed"]["a"].equal(torch.full((2, 2), 3.0, dtype=torch.float64))
        assert each["summed"]["b"].equal(torch.tensor(1.5))
        assert each["stopping"] == [False, True], "what any was asked at the latest sum, and nothing else"
        assert each["any"] == [False, True, True]
        assert each["told"] == "größer"
        assert each["followed"]["a"].equal(torch.ones(2, 2, dtype=torch.float64))
        assert each["followed"]["b"].equal(torch.tensor(0.0))
        assert each["launcher"] == "torchrun --nproc-per-node=3 -m "
        for count in (1, 7):
            torch.testing.assert_close(each["gathered"][count], [ragged(n) for n in range(count)], rtol=0, atol=0)


LEARNERS = {
    "maml": ("waves", (*MLP, "algorithm=maml")),
    "reptile": ("waves", (*MLP, "algorithm=reptile")),
    "imaml": ("waves", (*MLP, "algorithm=imaml")),
    "hypernet": ("blobs", (*CONV, *HYPERNET, "algorithm=maml_pp")),
    "protonet": ("blobs", (*CONV, "algorithm=protonet")),
}
TASKS = 7


def subject(name: str) -> tuple[Learner, MetaParameters, Dataset]:
    problem, overrides = LEARNERS[name]
    dataset: Dataset = waves() if problem == "waves" else Blobs()
    learner, phi = build(dataset, *overrides)
    return learner, moved(phi), dataset


def looked_at(name: str, processes: Processes) -> dict[str, Any]:
    """What training and measuring compute of a learner: gradients of chosen tasks, φ of four meta-updates, episodes."""
    learner, phi, dataset = subject(name)
    assert isinstance(learner.algorithm, Learned)
    outer = settings(*LEARNERS[name][1]).algorithm.outer
    meta_gradient, optimizer = MetaGradient(learner, 2, compiled=False), OuterOptimizer(outer, phi, None)
    found: dict[str, Any] = {"gradients": [], "numbers": []}
    for step, select in enumerate(("all", "loss", "k_medoids", "k_center")):
        chosen = TaskSelection(select=select, pool=2, temperature=1.0)
        selector = Selector(chosen, learner, dataset, TASKS, 3, processes)
        batch, weights, standing = selector(phi, step, 0.5, None)
        own = meta_gradient(phi, batch, 0.5, weights)
        gradient, metrics = processes.all_reduce(own, len(batch.number) / TASKS, asked=False)
        found["gradients"].append((gradient, metrics | standing))
        found["numbers"].append(batch.number)
    for gradient, _ in found["gradients"]:
        optimizer.step(gradient, 0.01)
    found["phi"] = phi
    for chunk in (2, None):
        episodes = Evaluator(learner, chunk, processes=processes)(phi, dataset, "test", 5)
        found[f"episodes {chunk}"] = (episodes.curves, episodes.pooled)
    return found


def look(names: list[str]) -> None:
    with joined() as group:
        torch.save({name: looked_at(name, group) for name in names}, f"{group.rank}.pt")


@pytest.mark.parametrize("count", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_several_processes_equal_one(here: Path, count: int) -> None:
    names = list(LEARNERS)
    launched(count, here, look, names)
    ranks = [load(rank) for rank in range(count)]
    for name in names:
        alone = looked_at(name, SINGLE_PROCESS)
        found = [rank[name] for rank in ranks]
        for step, numbers in enumerate(alone["numbers"]):
            assert torch.cat([each["numbers"][step] for each in found]).equal(numbers), (name, step)
        for each in found:
            torch.testing.assert_close(each["gradients"], alone["gradients"], rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(each["phi"], alone["phi"], rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(each["phi"], found[0]["phi"], rtol=0, atol=0)
            for chunk in (2, None):
                torch.testing.assert_close(
                    each[f"episodes {chunk}"], alone[f"episodes {chunk}"], rtol=1e-12, atol=1e-12
                )
                torch.testing.assert_close(each[f"episodes {chunk}"], found[0][f"episodes {chunk}"], rtol=0, atol=0)


def test_cores_are_divided_unless_threads_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    from metarun.engine import device

    group = object.__new__(ProcessGroup)
    group._local_count = 3
    monkeypatch.setattr(device, "_cores", lambda: 8)
    monkeypatch.setattr(ProcessGroup, "broadcast_text", lambda self, text: text)
    assert group.most_threads(settings("device=cpu").device) == 2
    assert group.most_threads(settings("device=cpu", "device.threads=5").device) == 5
    group._local_count = 9
    assert group.most_threads(settings("device=cpu").device) == 1
