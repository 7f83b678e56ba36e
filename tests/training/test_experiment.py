"""Whole runs, tiny, through the command line: what they leave, and that a stopped one is the same run."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
import torch
from builders import ALGORITHMS, CPU, Blobs, able, algorithm, settings, waves
from checkpoints import state_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metarun.algorithms.base import Learned
from metarun.engine import device
from metarun.engine.baselines import baselines
from metarun.engine.compile import auto_rules
from metarun.learner.learner import MetaParameters
from metarun.runs.files import BEST, LAST
from metarun.training.progress import TrainingLog

Command = Callable[..., tuple[int, str, str]]

ENGINE = (
    "engine.steps=6", "engine.meta_batch_size=3", "engine.val_every=2", "engine.val_episodes=5",
    "engine.test_episodes=7", "engine.checkpoint_every=3", "engine.log_every=2",
    "device.name=cpu", "device.threads=1", "device.compile=false", "tracking=scalars",
)  # fmt: skip
WAVES = ("dataset=sinusoid", "model=mlp", "model.hidden=[8,8]", "algorithm.inner_lr=0.01", *ENGINE)
GAUSSIAN = (*WAVES, "likelihood=gaussian")
DIRECTIONS = {"mse": False, "mae": False, "loss": False, "nll": False, "coverage": None}
SEQUENCE = (
    "experiment=forgetting_polynomials", "hypernet.hidden=[6]", "model.hidden=[6]", "embedding.fit_steps=3", *ENGINE,
    "engine.steps=9", "engine.val_every=3", "engine.checkpoint_every=2",
)  # fmt: skip
GLYPHS = (
    "dataset=glyphs", "dataset.queries=2", "model.channels=4", "model.layers=3",
    "model.normalization=running", *ENGINE,
)  # fmt: skip


GLOBAL = (*GLYPHS, "model.normalization=global")


PROBLEMS = {"waves": (waves(), WAVES), "glyphs": (Blobs(), GLYPHS)}
"""Tiny runs, and tasks of the same kind."""


FEWER_STEPS = {
    "imaml": ("algorithm.inner_steps=3",),
    "meml": ("algorithm.test_steps=6",),
    "reptile": ("algorithm.test_steps=6",),
}
"""Algorithms whose default takes many inner steps on every episode of a test."""


def options(name: str, problem: str) -> tuple[str, ...]:
    """A tiny run of that algorithm, with its own step size."""
    own = [override for override in PROBLEMS[problem][1] if not override.startswith("algorithm.")]
    return (f"algorithm={name}", *own, *FEWER_STEPS.get(name, ()))


def cases(*, learned: bool) -> list[Any]:
    """Every algorithm that has, or has not, an outer loop, on every problem that it can do."""
    return [
        pytest.param(name, problem, id=f"{name}-{problem}")
        for name in ALGORITHMS
        for problem, (dataset, _) in PROBLEMS.items()
        if able(name, dataset) and isinstance(algorithm(name), Learned) == learned
    ]


def ran(command: Command, folder: str, *overrides: str) -> Path:
    code, _, err = command(*overrides, f"hydra.run.dir={folder}")
    assert code == 0, err
    return Path(folder)


def numbers(folder: Path) -> dict[str, Any]:
    """``result.json`` without what time decides."""
    result = json.loads((folder / "result.json").read_text())
    return {**result, "train": {k: v for k, v in result["train"].items() if k in ("steps", "tested_step")}}


def phi(folder: Path, name: str = LAST) -> Any:
    return state_of(folder, name)["phi"]


def status(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return content


@pytest.mark.parametrize("overrides", [WAVES, GLYPHS], ids=["waves", "glyphs"])
def test_a_run_leaves_its_files(command: Command, overrides: tuple[str, ...]) -> None:
    folder = ran(command, "run", *overrides, "tracking.hparams=true")
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    events = {name for name in names if name.startswith("events.out.tfevents")}
    files = {"config.yaml", "result.json", "status.json", "episodes.csv", "metarun.log", ".lock"}
    assert names - events == files | {LAST, BEST}
    assert sorted(name.endswith(".ending") for name in events) == [False, True]
    assert status(folder)["status"] == "done"


@pytest.mark.parametrize("overrides", [WAVES, GAUSSIAN, GLYPHS], ids=["waves", "gaussian", "glyphs"])
def test_the_result_names_its_numbers_and_their_protocol(command: Command, overrides: tuple[str, ...]) -> None:
    folder = ran(command, "run", *overrides)
    result = json.loads((folder / "result.json").read_text())
    metrics = {"accuracy", "precision", "recall", "f1", "loss"} if overrides is GLYPHS else {"mse", "mae"}
    metrics |= {"nll", "coverage"} if overrides is GAUSSIAN else set()
    for part, episodes in (("meta_test", 7), ("meta_val", 5), ("meta_train", 7)):
        assert result[part]["dataset"] == ("glyphs" if overrides is GLYPHS else "sinusoid")
        assert result[part]["metrics"].keys() == metrics
        for value in result[part]["metrics"].values():
            drawn = {"classes", "ci95_classes"} if overrides is GLYPHS else set()
            assert value.keys() == {"mean", "ci95", "episodes", "tasks"} | drawn
            assert value["tasks"] == episodes
            assert isinstance(value["mean"], float)
            assert isinstance(value["ci95"], float)
            assert value["ci95"] >= 0
            assert value["episodes"] == episodes
    for name in metrics:
        gap = result["meta_train"]["metrics"][name]["mean"] - result["meta_test"]["metrics"][name]["mean"]
        assert result["gap"][name] == pytest.approx(gap, abs=1e-12)
        curve = result["meta_test"]["adaptation"][name]
        assert len(curve["mean"]) == len(curve["ci95"]) == result["protocol"]["inner_steps"] + 1
        assert curve["mean"][-1] == pytest.approx(result["meta_test"]["metrics"][name]["mean"], rel=1e-12)
        assert result["higher_is_better"][name] is DIRECTIONS.get(name, True)
    assert result["protocol"]["transductive"] is False
    assert result["protocol"]["test_episodes"] == 7
    assert result["train"]["steps"] == 6
    assert result["train"]["tested_step"] in (2, 4, 6)
    assert result["train"]["seconds"] > 0
    assert result["train"]["tasks_per_second"] > 0
    assert result["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize("overrides", [WAVES, GLYPHS], ids=["waves", "glyphs"])
def test_trivial_baselines_are_those_of_the_same_episodes(command: Command, overrides: tuple[str, ...]) -> None:
    """Computed again from the dataset; a run of six steps beats none, and says so."""
    folder = Path("run")
    code, out, err = command(*overrides, "hydra.run.dir=run")
    assert code == 0, err
    result = json.loads((folder / "result.json").read_text())
    found, metric = result["baselines"], result["metric"]
    config = settings(*overrides)
    dataset = config.dataset.load(config.seed, CPU, torch.float32, config.engine.episode_seed)
    kind = dataset.kind("test")
    wanted = baselines(kind, dataset.sample("test", 0, 7))
    assert found["methods"].keys() == wanted.keys()
    with (folder / "episodes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name, values in wanted.items():
        assert found["methods"][name]["mean"] == pytest.approx(values.mean().item(), rel=1e-9)
        assert [float(row[f"baseline_{name}"]) for row in rows] == pytest.approx(values.tolist())
    assert (found["metric"], found["dataset"]) == (metric, result["meta_test"]["dataset"])
    assert found["beaten"] is False
    told = [line for line in (out + err).splitlines() if "the meta-learner does not beat the baseline" in line]
    assert len(told) == 1
    assert any(line.startswith("baselines   ") for line in (out + err).splitlines())
    if kind.metric == "accuracy":
        assert 0 <= result["meta_test"]["pooled"]["ece"] <= 1
        assert "   ece 0." in out + err


def test_episodes_are_those_of_the_result(command: Command) -> None:
    folder = ran(command, "run", *WAVES)
    result = json.loads((folder / "result.json").read_text())
    with (folder / "episodes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["episode"]) for row in rows] == list(range(7))
    for name in ("mse", "mae"):
        after = [float(row[name]) for row in rows]
        before = [float(row[f"{name}_before"]) for row in rows]
        assert sum(after) / 7 == pytest.approx(result["meta_test"]["metrics"][name]["mean"], rel=1e-12)
        assert sum(before) / 7 == pytest.approx(result["meta_test"]["adaptation"][name]["mean"][0], rel=1e-12)


def test_episodes_of_a_table_name_their_subjects_and_intervals_count_these(command: Command, tmp_path: Path) -> None:
    rows = [[f"s{n % 11:02}", n % 7, (n * n) % 13 + n % 11] for n in range(330)]
    (tmp_path / "table.csv").write_text("subject,x,y\n" + "\n".join(",".join(map(str, row)) for row in rows))
    table = (f"dataset.path={tmp_path / 'table.csv'}", "dataset.task=subject", "dataset.target=y", "dataset.shots=3")
    own = (
        "dataset=table",
        "dataset.split=rows",
        "dataset.queries=3",
        *table,
        *(x for x in WAVES if x != "dataset=sinusoid"),
    )
    code, out, err = command(*own, "engine.test_episodes=44", "hydra.run.dir=run")
    assert code == 0, err
    result = json.loads(Path("run/result.json").read_text())
    told = result["meta_test"]["metrics"]["mse"]
    with Path("run/episodes.csv").open(newline="") as file:
        episodes = list(csv.DictReader(file))
    assert [int(row["task"]) for row in episodes] == [number % 11 for number in range(44)]
    assert [row["task_name"] for row in episodes] == [f"s{number % 11:02}" for number in range(44)]
    by_subject = [sum(float(row["mse"]) for row in episodes[task::11]) / 4 for task in range(11)]
    assert (told["episodes"], told["tasks"]) == (44, 11)
    assert told["ci95"] == pytest.approx(2.228139 * stdev(by_subject) / 11**0.5, rel=1e-6)
    assert "44 episodes of 11 tasks" in out + err


def test_episodes_that_draw_classes_name_these(command: Command) -> None:
    folder = ran(command, "run", *GLYPHS)
    with (folder / "episodes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["task"]) for row in rows] == list(range(7))
    for row in rows:
        assert len(row["classes"].split()) == len(row["task_name"].split(", ")) == 5
    result = json.loads((folder / "result.json").read_text())
    assert result["meta_test"]["metrics"]["accuracy"]["classes"] == len(
        {c for row in rows for c in row["classes"].split()}
    )


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def test_tensorboard_holds_the_same_numbers(command: Command) -> None:
    falling = ("algorithm.outer.lr=0.001", "algorithm.outer.schedule=linear")
    folder = ran(command, "run", *WAVES, *falling, "tracking.adaptation=true")
    result = json.loads((folder / "result.json").read_text())
    told = scalars(folder)
    best = result["train"]["tested_step"]
    for name in ("mse", "mae"):
        assert told[f"meta-train/{name}"].keys() == {2, 4, 6}
        assert told[f"meta-val/{name}"].keys() == {2, 4, 6}
        assert told[f"meta-val/{name}"][best] == pytest.approx(result["meta_val"]["metrics"][name]["mean"], rel=1e-6)
        assert told[f"meta-test/{name}"] == {
            best: pytest.approx(result["meta_test"]["metrics"][name]["mean"], rel=1e-6)
        }
    assert min(told["meta-val/mse"].values()) == told["meta-val/mse"][best]
    assert told["outer-loop/lr"] == {step: pytest.approx(0.001 * (1 - (step - 1) / 6)) for step in (2, 4, 6)}
    assert all(value > 0 for value in told["speed/tasks_per_second"].values())
    events = EventAccumulator(str(folder))
    events.Reload()
    assert events.Tags()["images"] == ["meta-test/adaptation of mse"]


@pytest.mark.parametrize(("name", "problem"), [("matching", "glyphs"), ("transformer", "waves")])
def test_tensorboard_shows_attention(command: Command, name: str, problem: str) -> None:
    events = EventAccumulator(str(ran(command, "run", *options(name, problem), "tracking.attention=true")))
    events.Reload()
    assert "meta-test/attention of queries" in events.Tags()["images"]


def test_selection_and_report_use_different_splits(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta-test split is looked at once, after training."""
    from metarun.datasets.sinusoid import Sinusoid

    seen: list[str] = []
    sample = Sinusoid.sample

    def noted(self: Sinusoid, stream: str, index: int, tasks: int, group: int | None = None) -> Any:
        seen.append(stream)
        return sample(self, stream, index, tasks, group)

    monkeypatch.setattr(Sinusoid, "sample", noted)
    ran(command, "run", *WAVES)
    order = [stream for number, stream in enumerate(seen) if number == 0 or stream != seen[number - 1]]
    assert order == ["train_eval", *["train", "val"] * 3, "test", "train_eval"]


@pytest.mark.parametrize(
    ("overrides", "metric", "best_of"), [(WAVES, "mse", min), (GLYPHS, "accuracy", max)], ids=["waves", "glyphs"]
)
def test_the_best_validated_state_is_tested(
    command: Command, overrides: tuple[str, ...], metric: str, best_of: Callable[..., float]
) -> None:
    """With an outer step size that makes things worse, so that the best is not the last."""
    folder = ran(command, "run", *overrides, "algorithm.outer.lr=1", "engine.val_every=1", "engine.val_episodes=20")
    validated = scalars(folder)[f"meta-val/{metric}"]
    best = next(step for step, value in validated.items() if value == best_of(validated.values()))
    assert 1 <= best < 6
    assert validated[best] != validated[6]
    assert numbers(folder)["train"]["tested_step"] == best
    assert state_of(folder, BEST)["step"] == best
    for name, same in ((BEST, True), (LAST, False)):
        tested = ran(command, Path(name).stem, "mode=test", f"checkpoint=run/{name}")
        assert (numbers(tested)["meta_test"] == numbers(folder)["meta_test"]) == same


def stopping(monkeypatch: pytest.MonkeyPatch, at: int, how: Callable[[], Any]) -> None:
    """Do ``how`` once, when meta-update ``at`` has been done and nothing of it is saved yet."""
    step, waiting = TrainingLog.step, [at]

    def stop(self: TrainingLog, number: int, *rest: Any) -> None:
        step(self, number, *rest)
        if [number] == waiting:
            waiting.clear()
            how()

    monkeypatch.setattr(TrainingLog, "step", stop)


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


class Crash(RuntimeError):
    """A run's end that nothing was prepared for."""


def crash() -> None:
    raise Crash


@pytest.mark.parametrize(("name", "problem"), cases(learned=True))
def test_stopped_and_crashed_runs_resume_bit_for_bit(
    name: str, problem: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ran(command, "whole", *options(name, problem))
    stopping(monkeypatch, 2, interrupt)
    code, _, err = command(*options(name, problem), "hydra.run.dir=parts")
    assert code == 130, err
    parts = Path("parts")
    assert err.splitlines()[-1].endswith(f"stopped at step 2 of 6; resume with: metarun resume={parts.absolute()}")
    assert status(parts)["status"] == "interrupted"
    assert state_of(parts)["step"] == 2

    stopping(monkeypatch, 5, crash)  # meta-updates 4 and 5 are lost
    code, _, err = command("resume=parts")
    assert (code, status(parts)["status"]) == (1, "failed"), err
    assert state_of(parts)["step"] == 3

    code, _, err = command("resume=parts")
    assert code == 0, err
    assert numbers(parts) == numbers(whole)
    for file in (LAST, BEST):
        torch.testing.assert_close(phi(parts, file), phi(whole, file), rtol=0, atol=0)
    assert (parts / "episodes.csv").read_text() == (whole / "episodes.csv").read_text()
    assert status(parts)["status"] == "done"


def test_hypernetwork_run_resumes_bit_for_bit(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    hypernet = ("hypernet=full", "hypernet.hidden=[8]", "embedding=support", "embedding.size=4", "embedding.hidden=8")
    whole = ran(command, "whole", *WAVES, *hypernet)
    stopping(monkeypatch, 4, interrupt)
    assert command(*WAVES, *hypernet, "hydra.run.dir=parts")[0] == 130
    assert command("resume=parts")[0] == 0
    assert numbers(Path("parts")) == numbers(whole)
    torch.testing.assert_close(phi(Path("parts")), phi(whole), rtol=0, atol=0)


def test_global_statistics_resume_bit_for_bit(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ran(command, "whole", "algorithm=protonet", *GLOBAL)
    assert not torch.equal(phi(whole)["memory"]["statistics.norm0"], torch.tensor([[1.0] * 4, [0.0] * 4]))
    stopping(monkeypatch, 4, interrupt)
    assert command("algorithm=protonet", *GLOBAL, "hydra.run.dir=parts")[0] == 130
    assert command("resume=parts")[0] == 0
    assert numbers(Path("parts")) == numbers(whole)
    assert numbers(whole)["protocol"]["normalization"] == "global"
    torch.testing.assert_close(phi(Path("parts")), phi(whole), rtol=0, atol=0)


def test_repeated_tasks_resume_bit_for_bit(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from metarun.datasets.sinusoid import Sinusoid

    seen: set[int] = set()
    sample = Sinusoid.sample

    def noted(self: Sinusoid, stream: str, index: int, tasks: int, group: int | None = None) -> Any:
        batch = sample(self, stream, index, tasks, group)
        seen.update(batch.number.tolist() if stream == "train" else [])
        return batch

    few = (*WAVES, "engine.train_tasks=4", "engine.checkpoint_every=2")
    whole = ran(command, "whole", *few)
    assert numbers(whole)["meta_test"] != numbers(ran(command, "all", *WAVES))["meta_test"]
    monkeypatch.setattr(Sinusoid, "sample", noted)
    stopping(monkeypatch, 3, crash)
    assert command(*few, "hydra.run.dir=parts")[0] == 1
    assert command("resume=parts")[0] == 0
    assert seen == {0, 1, 2, 3}
    assert numbers(Path("parts")) == numbers(whole)
    torch.testing.assert_close(phi(Path("parts")), phi(whole), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("overrides", "metric", "before", "top"),
    [
        (("dataset=sinusoid", "model=mlp", "algorithm.inner_lr=0.01"), "mse", (1.0, 20.0), (0.0, 0.1)),
        (("model.channels=8", "engine.steps=100", "engine.val_every=100"), "accuracy", (0.1, 0.9), (0.99, 1.0)),
    ],
    ids=["waves", "glyphs"],
)
def test_overfitting_goes_to_the_top(
    command: Command, overrides: tuple[str, ...], metric: str, before: tuple[float, float], top: tuple[float, float]
) -> None:
    """And not because the tasks are easy: new ones are not known as well."""
    folder = ran(command, "run", "debug=overfit", "tracking=scalars", *overrides)
    learned = scalars(folder)[f"meta-train/{metric}"]
    assert before[0] < learned[10] < before[1]
    assert top[0] <= learned[max(learned)] <= top[1]
    test = numbers(folder)["meta_test"]["metrics"][metric]["mean"]
    assert not top[0] <= test <= top[1]


def test_tensorboard_after_a_resume_equals_one_run(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ran(command, "whole", *WAVES)
    stopping(monkeypatch, 5, crash)
    assert command(*WAVES, "hydra.run.dir=parts")[0] == 1
    assert command("resume=parts")[0] == 0
    one, other = scalars(whole), scalars(Path("parts"))
    for tag in one:
        if tag.startswith(("meta-val", "meta-test")):
            assert other[tag] == one[tag], tag


def test_stopping_in_the_meta_test_keeps_the_training(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ran(command, "whole", *WAVES)
    stopping(monkeypatch, 6, interrupt)
    code, _, err = command(*WAVES, "hydra.run.dir=parts")
    assert code == 130
    assert "stopped during the meta-test; test again with: metarun resume=" in err
    assert not Path("parts/result.json").exists()
    assert command("resume=parts")[0] == 0
    assert numbers(Path("parts")) == numbers(whole)


def test_resumed_run_keeps_its_number_of_threads(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = [override for override in WAVES if not override.startswith("device.threads")]
    for cores, shared_from, threads in ((4, 0, 4), (4, 1e6, 1)):
        monkeypatch.setattr(device, "_THREADS", cores)
        monkeypatch.setattr(auto_rules, "SHARED_FROM", shared_from)
        run = ran(command, f"threads-{threads}", *chosen)
        assert json.loads((run / "result.json").read_text())["train"]["threads"] == threads
        monkeypatch.setattr(device, "_THREADS", 2)
        monkeypatch.setattr(auto_rules, "SHARED_FROM", 1e6 - shared_from)
        assert command(f"resume={run}", "engine.steps=9")[0] == 0
        assert json.loads((run / "result.json").read_text())["train"]["threads"] == threads
        assert torch.get_num_threads() == threads


def test_resuming_a_finished_run_prints_the_same_result(command: Command) -> None:
    folder = ran(command, "run", *WAVES)
    before = numbers(folder)
    assert command("resume=run")[0] == 0
    assert numbers(folder) == before


@pytest.mark.parametrize(
    "overrides", [WAVES, GLYPHS, ("algorithm=protonet", *GLOBAL)], ids=["waves", "glyphs", "global"]
)
def test_testing_a_run_gives_its_result_again(command: Command, overrides: tuple[str, ...]) -> None:
    trained = ran(command, "trained", *overrides)
    tested = ran(command, "tested", "mode=test", "checkpoint=trained")
    assert numbers(tested)["meta_test"] == numbers(trained)["meta_test"]
    assert numbers(tested)["meta_val"] == numbers(trained)["meta_val"]
    assert (tested / "episodes.csv").read_text() == (trained / "episodes.csv").read_text()
    assert not (tested / "checkpoints").exists()


def test_the_seed_decides_everything(command: Command) -> None:
    one, same, other = (ran(command, folder, *WAVES, f"seed={seed}") for folder, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert numbers(one) == numbers(same)
    torch.testing.assert_close(phi(one), phi(same), rtol=0, atol=0)
    assert numbers(one)["meta_test"] != numbers(other)["meta_test"]


@pytest.mark.parametrize(("name", "problem"), cases(learned=False))
def test_baseline_is_validated_and_tested_without_training(name: str, problem: str, command: Command) -> None:
    folder = ran(command, "run", *options(name, problem))
    assert numbers(folder)["train"] == {"steps": 0, "tested_step": 0}
    assert status(folder)["status"] == "done"
    assert (folder / BEST).exists()


def test_baseline_ignores_the_initialization_of_others(command: Command) -> None:
    ran(command, "run", *WAVES)
    code, _, err = command("mode=test", "checkpoint=run", "algorithm=scratch", "hydra.run.dir=test")
    assert code == 2
    assert "algorithm=scratch: starts from random parameters, and this checkpoint holds those of" in err
    assert not Path("test").exists()


REFUSED = {
    "protonet on waves": (
        ["algorithm=protonet", "dataset=sinusoid", "model=mlp"],
        "algorithm=protonet: does classification only, since it takes the mean of each class, and dataset=sinusoid is ",
    ),
    "a head for each class": (
        ["dataset.train_ways=7"],
        "dataset.train_ways=7: this algorithm's model has one output per class, so training needs as many ways",
    ),
    "transductive without batch statistics": (
        ["engine.transductive=true", "model.normalization=group"],
        "engine.transductive=true: only model.normalization=batch looks at other queries, and it is group; set",
    ),
    "statistics over tasks of an inner loop": (
        ["model.normalization=global"],
        "model.normalization=global: algorithm=maml has inner steps in meta-training, with statistics that",
    ),
    "no embedding": (["hypernet=full"], "hypernet=full: needs a task embedding; add embedding=support"),
    "few tasks in a sequence": (
        ["experiment=forgetting_polynomials", "engine.train_tasks=4"],
        "engine.train_tasks=4: repeated tasks have no sequence of groups; set engine.train_tasks=null",
    ),
    "few tasks for who learns nothing": (
        ["algorithm=scratch", "engine.train_tasks=4"],
        "engine.train_tasks=4: algorithm=scratch has no meta-training; set engine.train_tasks=null, or "
        "choose a meta-learner such as algorithm=maml",
    ),
    "an embedding for nothing": (["embedding=support"], "embedding=support: nothing uses it; add a hypernetwork"),
    "labels that the embedding cannot read": (
        ["algorithm=protonet", "dataset.train_ways=7", "hypernet=full", "embedding=support"],
        "dataset.train_ways=7: embedding=support reads labels, so training needs as many ways as testing (5)",
    ),
    "images for a convolution": (
        ["dataset=sinusoid"],
        "model=conv4: needs images, and this dataset's inputs have shape (1,); use model=mlp",
    ),
    "a penalty on a way that is not kept": (
        ["algorithm.recompute=true", "regularizer.proximal=0.1"],
        "regularizer.proximal=0.1: does not go with algorithm.recompute=true, which does not keep the graph from θ⁰",
    ),
    "a range of step sizes": (
        ["algorithm=meta_sgd", "algorithm.inner_lr=[0.2,0.1]"],
        "algorithm.inner_lr=[0.2, 0.1]: give one positive number, or two in increasing order",
    ),
}


@pytest.mark.parametrize(("overrides", "message"), REFUSED.values(), ids=REFUSED)
def test_incompatible_parts(command: Command, overrides: list[str], message: str) -> None:
    code, _, err = command(*overrides, *ENGINE, "hydra.run.dir=run")
    assert code == 2
    assert err.startswith(f"metarun: {message}")
    assert err.count("\n") == 1
    assert not Path("run").exists()


def test_more_ways_in_training_for_an_algorithm_without_a_head(command: Command) -> None:
    folder = ran(command, "run", "algorithm=protonet", "dataset.train_ways=7", *GLYPHS)
    assert numbers(folder)["protocol"]["ways"] == 5


@pytest.mark.parametrize("diverging", [["algorithm.inner_lr=1e30"], ["algorithm.outer.lr=1e30"]])
def test_non_finite_meta_gradient_stops_the_run(command: Command, diverging: list[str]) -> None:
    rest = [override for override in WAVES if not override.startswith("algorithm.")]
    code, _, err = command(*rest, *diverging, "hydra.run.dir=run", "engine.val_every=100")
    assert code == 3
    assert err.count("\n") == 1
    assert "the meta-gradient at step" in err
    assert "is not finite" in err
    assert status(Path("run"))["status"] == "failed"
    assert "is not finite" in status(Path("run"))["reason"]
    assert all(tensor.isfinite().all() for tensors in phi(Path("run")).values() for tensor in tensors.values())


@pytest.mark.slow
def test_run_killed_at_any_time_resumes_to_the_same_result(command: Command) -> None:
    overrides = [*WAVES, "engine.steps=60", "engine.val_every=4"]
    whole = ran(command, "whole", *overrides)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"}
    moments = random.Random(0)
    begin = [sys.executable, "-m", "metarun", *overrides, "hydra.run.dir=killed"]
    go_on = [sys.executable, "-m", "metarun", "resume=killed"]
    last, killed = Path("killed", LAST), 0
    for _ in range(4):
        process = subprocess.Popen(
            go_on if last.exists() else begin, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        before = last.stat().st_mtime_ns if last.exists() else 0
        while process.poll() is None and (not last.exists() or last.stat().st_mtime_ns == before):
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.15))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
    assert killed >= 2
    done = subprocess.run(go_on, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert numbers(Path("killed")) == numbers(whole)
    torch.testing.assert_close(phi(Path("killed")), phi(whole), rtol=0, atol=0)


def test_a_run_stopped_before_its_first_update_can_be_resumed(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metarun.engine.planning import Planner

    def stopped(self: Planner, phi: MetaParameters) -> None:
        raise KeyboardInterrupt

    whole = ran(command, "whole", *WAVES)
    with monkeypatch.context() as patch:
        patch.setattr(Planner, "meta_gradient", stopped)
        assert command(*WAVES, "hydra.run.dir=run")[0] == 130
    assert command("resume=run")[0] == 0
    assert numbers(Path("run")) == numbers(whole)


def test_last_checkpoint_is_reported_as_such(command: Command) -> None:
    """Not under the step and the validation of the best one."""
    folder = ran(command, "run", *WAVES)
    last = ran(command, "last", "mode=test", f"checkpoint={folder}/{LAST}", "dataset.queries=3")
    result = json.loads((last / "result.json").read_text())
    assert result["train"]["tested_step"] == 6
    assert result["protocol"]["selection"] == f"checkpoint={folder}/{LAST}"
    assert result["meta_val"]["metrics"]["mse"]["episodes"] == 5
    best = json.loads((folder / "result.json").read_text())
    assert result["meta_val"]["metrics"]["mse"]["mean"] != best["meta_val"]["metrics"]["mse"]["mean"], (
        "measured with other queries"
    )


def test_run_without_statistics_cannot_be_tested_with_them(command: Command) -> None:
    ran(command, "run", "algorithm=protonet", *GLYPHS)
    code, _, err = command("mode=test", "checkpoint=run", "model.normalization=global", "hydra.run.dir=test")
    assert code == 2
    assert "memory differs in 'statistics.norm0'; keep the model.normalization of the run" in err
    assert err.count("\n") == 1


def test_a_test_may_not_draw_other_splits(command: Command) -> None:
    folder = ran(command, "run", *WAVES)
    code, _, err = command("mode=test", f"checkpoint={folder}", "seed=1")
    assert (code, err.count("\n")) == (2, 1)
    assert "decides which classes that run was trained on" in err


def test_sequence_writes_a_forgetting_matrix(command: Command) -> None:
    folder = ran(command, "run", *SEQUENCE, "tracking.forgetting=true")
    result = json.loads((folder / "result.json").read_text())
    forgetting = result["forgetting"]
    assert len(forgetting["groups"]) == 3
    assert [len(row) for row in forgetting["matrix"]] == [3, 3, 3]
    for group in range(3):
        change = forgetting["matrix"][2][group] - forgetting["matrix"][group][group]
        assert forgetting["forgotten"][group] == pytest.approx(change)
    assert forgetting["forgotten"][2] == 0
    assert result["protocol"]["order"] == "sequential"
    assert result["protocol"]["selection"] == "the last"
    assert result["train"]["tested_step"] == 9
    events = EventAccumulator(str(folder))
    events.Reload()
    assert "forgetting/mse" in events.Tags()["images"]
    assert scalars(folder)["omega/output"].keys() == {4, 6, 8, 9}


def test_a_profile_is_left_in_the_folder_and_on_the_board(command: Command) -> None:
    code, out, err = command(*WAVES, "engine.steps=9", "engine.profile_steps=2", "hydra.run.dir=run")
    assert code == 0, err
    assert "of a meta-update's" in out + err
    assert {path.name for path in Path("run/profile").iterdir()} == {"trace.json", "operations.txt"}
    events = EventAccumulator("run")
    events.Reload()
    assert "profile/text_summary" in events.Tags()["tensors"]


@pytest.mark.parametrize(("per", "steps"), [("group", 3 * [3, 2, 1]), ("run", [9, 8, 7, 6, 5, 4, 3, 2, 1])])
def test_every_group_of_a_sequence_is_learned_with_the_whole_schedule(
    command: Command, per: str, steps: list[int]
) -> None:
    """Else the last groups are learned, and the others forgotten, with smaller steps."""
    falling = ("algorithm.outer.lr=0.01", "algorithm.outer.schedule=linear", "engine.log_every=1")
    one = () if per == "group" else ("engine.schedule_per=run",)
    folder = ran(command, "run", *SEQUENCE, *falling, *one)
    told = scalars(folder)["outer-loop/lr"]
    assert [told[step] for step in range(1, 10)] == pytest.approx([0.01 * left / max(steps) for left in steps])


@pytest.mark.parametrize("stop", [2, 3, 4, 6, 7])
def test_a_sequence_stopped_anywhere_and_resumed_is_the_same(
    command: Command, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    whole = ran(command, "whole", *SEQUENCE)
    stopping(monkeypatch, stop, interrupt)
    assert command(*SEQUENCE, "hydra.run.dir=stopped")[0] == 130
    code, _, err = command("resume=stopped")
    assert code == 0, err
    assert numbers(Path("stopped")) == numbers(whole)
    torch.testing.assert_close(phi(Path("stopped")), phi(whole), rtol=0, atol=0)


def test_task_embeddings_are_left_to_look_at(command: Command) -> None:
    made = ("embedding=support", "hypernet=film", "dataset=regression_families")
    folder = ran(command, "run", *WAVES, *made, "tracking.embeddings=true", "tracking.attention=true")
    with (folder / "embeddings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "episodes.csv").open(newline="") as file:
        assert [row["mse"] for row in csv.DictReader(file)] == [row["mse"] for row in rows]
    assert {"family", "e0", "e31"} < rows[0].keys()
    assert len({row["e0"] for row in rows}) == 7
    events = EventAccumulator(str(folder))
    events.Reload()
    figures = {"meta-test/task embeddings", "meta-test/attention over support"}
    assert figures == set(events.Tags()["images"])
    assert "generated/norm of head.weight" in events.Tags()["scalars"]
    assert (folder / "projector_config.pbtxt").is_file()


def test_stopped_sequence_can_be_tested_but_not_extended(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping(monkeypatch, 4, interrupt)
    assert command(*SEQUENCE, "hydra.run.dir=stopped")[0] == 130
    config = Path("stopped/config.yaml").read_text()
    code, _, err = command("resume=stopped", "engine.steps=30")
    assert (code, err.count("\n")) == (2, 1)
    assert "engine.steps does not go with a sequence" in err
    assert Path("stopped/config.yaml").read_text() == config
    forgetting = json.loads((ran(command, "test", "mode=test", "checkpoint=stopped") / "result.json").read_text())[
        "forgetting"
    ]
    assert len(forgetting["matrix"]) == len(forgetting["forgotten"]) == 1
    assert command("resume=stopped")[0] == 0


def table(path: str, tasks: list[str]) -> None:
    rows = [f"{task},{x},{x * number}" for number, task in enumerate(tasks) for x in range(8)]
    Path(path).write_text("\n".join(["task,x,target", *rows]))


TABLE = ("dataset=table", "dataset.path=one.csv", "dataset.split=rows", "model=mlp", "model.hidden=[6]", *ENGINE)


def test_a_learned_tables_rows_serve_no_other_tasks(command: Command) -> None:
    table("one.csv", list("abcdef"))
    table("other.csv", list("abcdeg"))
    ran(command, "run", *TABLE, "embedding=learned", "hypernet=film", "algorithm.inner_lr=0.01")
    ran(command, "again", "mode=test", "checkpoint=run")
    code, _, err = command("mode=test", "checkpoint=run", "dataset.path=other.csv", "hydra.run.dir=other")
    assert (code, err.count("\n")) == (2, 1)
    assert "'f'" in err


def test_repeated_choice_of_the_dataset_keeps_the_split(command: Command) -> None:
    table("one.csv", list("abcdef"))
    ran(command, "run", *TABLE, "algorithm.inner_lr=0.01", "dataset.fractions=[0.4,0.2,0.4]")
    folder = ran(command, "again", "mode=test", "checkpoint=run", "dataset=table", "dataset.path=one.csv")
    protocols = [json.loads((f / "result.json").read_text())["protocol"] for f in (Path("run"), folder)]
    assert protocols[0]["split"] == protocols[1]["split"]
    assert protocols[0]["fractions"] == protocols[1]["fractions"]


def damage(file: Path) -> None:
    """Flip a bit in the middle, as a disk might."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


SLOW_SINES = (*WAVES, "algorithm.outer.slow.ratio=0.5", "algorithm.outer.slow.every=2", "engine.checkpoint_every=5")


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_run_resumes_from_best_checkpoint_if_the_last_is_damaged(
    command: Command, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    """The best was validated before the last was saved: steps are done again, as they were."""
    overrides = (*SLOW_SINES, f"algorithm.outer.optimizer={optimizer}", "engine.val_every=3")
    whole = ran(command, "whole", *overrides)
    stopping(monkeypatch, 5, interrupt)
    assert command(*overrides, "hydra.run.dir=parts")[0] == 130
    parts = Path("parts")
    assert (state_of(parts)["step"], state_of(parts, BEST)["step"]) == (5, 3)
    damage(parts / LAST)
    code, out, err = command("resume=parts")
    assert code == 0, err
    why = "a damaged checkpoint: its checksum does not match its contents"
    (line,) = (line for line in out.splitlines() if "damaged" in line)
    assert line.endswith(f"{LAST}: {why}; using {parts.absolute() / BEST}, of step 3, instead")
    assert numbers(parts) == numbers(whole)
    for file in (LAST, BEST):
        torch.testing.assert_close(phi(parts, file), phi(whole, file), rtol=0, atol=0)
        mine, theirs = (state_of(folder, file)["optimizer"] for folder in (parts, whole))
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_a_damaged_best_checkpoint_is_replaced_by_the_best_to_come(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping(monkeypatch, 5, interrupt)
    assert command(*WAVES, "hydra.run.dir=run", "engine.val_every=3")[0] == 130
    damage(Path("run", BEST))
    code, out, err = command("resume=run")
    assert code == 0, err
    assert "its checksum does not match its contents; the best state so far (step 3) is lost" in out
    assert numbers(Path("run"))["train"]["tested_step"] == 6
    # Of a finished run there is the last state alone.
    damage(Path("run", BEST))
    code, out, err = command("resume=run")
    assert code == 0, err
    assert "the best state so far (step 6) is lost" in out
    assert state_of("run", BEST)["best"]["step"] == 6


def test_last_checkpoint_is_tested_if_the_best_is_damaged(command: Command) -> None:
    folder = ran(command, "run", *WAVES, "engine.val_every=4", "engine.checkpoint_every=6")
    damage(folder / BEST)
    code, out, err = command("mode=test", "checkpoint=run", "hydra.run.dir=again")
    assert code == 0, err
    assert f"{LAST}, of step 6, instead" in out
    again = json.loads(Path("again", "result.json").read_text())
    assert again["train"]["tested_step"] == 6
    assert out.count("damaged") == 1
    damage(folder / LAST)
    for words in (("mode=test", "checkpoint=run", "hydra.run.dir=third"), ("resume=run",)):
        code, _, err = command(*words)
        assert code == 2
        assert err.count("\n") == 1
        assert err.count("a damaged checkpoint: its checksum does not match its contents") == 2
    code, _, err = command("mode=test", f"checkpoint=run/{BEST}", "hydra.run.dir=fourth")
    assert (code, err.count("\n"), "instead" in err) == (2, 1, False), err
