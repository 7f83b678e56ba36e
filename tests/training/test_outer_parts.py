"""Whole runs with slow weights and chosen tasks: stopped in the middle and resumed, they are the same."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import state_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metarun.engine.meta_gradient import MetaGradient
from metarun.training.progress import TrainingLog

Command = Callable[..., tuple[int, str, str]]

ENGINE = (
    "engine.steps=7", "engine.meta_batch_size=3", "engine.val_every=3", "engine.val_episodes=4",
    "engine.test_episodes=4", "engine.checkpoint_every=7", "engine.log_every=1",
    "device.name=cpu", "device.threads=1", "device.compile=false", "tracking=scalars",
)  # fmt: skip
WAVES = ("dataset=sinusoid", "model=mlp", "model.hidden=[8]", "algorithm=mbml", "algorithm.inner_lr=0.01", *ENGINE)
SLOW = ("algorithm.outer.slow.ratio=0.3", "algorithm.outer.slow.every=3")
SEQUENCE = (
    "experiment=forgetting_polynomials", "hypernet.hidden=[6]", "model.hidden=[6]", "embedding.fit_steps=3", *ENGINE,
    "engine.steps=9",
)  # fmt: skip


def chosen(select: str) -> tuple[str, ...]:
    return (f"algorithm.outer.tasks.select={select}", "algorithm.outer.tasks.pool=3")


RUNS = {
    "slow": (*WAVES, *SLOW, *chosen("all")),
    "k_center": (*WAVES, *SLOW, *chosen("k_center")),
    "k_medoids, learned optimizer": (*WAVES, *chosen("k_medoids"), "algorithm.optimizer_units=4"),
    "loss, in chunks": (*WAVES, *chosen("loss"), "engine.task_chunk=2"),
    "meml": (*WAVES, "algorithm=meml", "algorithm.prior.learned=true", *SLOW, *chosen("loss")),
    "sequence": (*SEQUENCE, *SLOW, *chosen("k_medoids")),
}


def state(folder: str) -> Any:
    return state_of(folder)


@pytest.mark.parametrize("stop", [2, 4])
@pytest.mark.parametrize("overrides", RUNS.values(), ids=RUNS)
def test_stopped_and_resumed_run_is_the_same(
    overrides: tuple[str, ...], stop: int, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(*overrides, "hydra.run.dir=whole")[0] == 0
    step, waiting = TrainingLog.step, [stop]

    def interrupting(self: TrainingLog, number: int, *rest: Any) -> None:
        step(self, number, *rest)
        if [number] == waiting:
            waiting.clear()
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TrainingLog, "step", interrupting)
    code, _, err = command(*overrides, "hydra.run.dir=parts")
    assert code == 130, err
    assert state("parts")["step"] == stop
    assert command("resume=parts")[0] == 0
    one, other = state("whole"), state("parts")
    torch.testing.assert_close(other["phi"], one["phi"], rtol=0, atol=0)
    torch.testing.assert_close(other["optimizer"], one["optimizer"], rtol=0, atol=0)
    results = [json.loads(Path(folder, "result.json").read_text())["meta_test"] for folder in ("whole", "parts")]
    assert results[0] == results[1]


def test_selected_tasks_are_weighted_by_the_tasks_they_represent(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[torch.Tensor | None] = []
    call = MetaGradient.__call__

    def noted(self: MetaGradient, phi: Any, batch: Any, progress: float = 0.0, weights: Any = None) -> Any:
        told.append(weights)
        return call(self, phi, batch, progress, weights)

    monkeypatch.setattr(MetaGradient, "__call__", noted)
    assert command(*WAVES, *chosen("k_medoids"), "hydra.run.dir=one")[0] == 0
    assert all(weights is not None and weights.sum().item() == pytest.approx(3) for weights in told)
    assert any(weights is not None and weights.max() > 1 for weights in told)
    told.clear()
    assert command(*WAVES, *chosen("all"), "hydra.run.dir=other")[0] == 0
    assert told == [None] * 7


def test_metrics_of_selected_tasks_are_logged(command: Command) -> None:
    for select, name in (("k_medoids", "distance_ratio"), ("loss", "loss_rank")):
        assert command(*WAVES, *chosen(select), f"hydra.run.dir={select}")[0] == 0
        events = EventAccumulator(select)
        events.Reload()
        values = [event.value for event in events.Scalars(f"tasks/{name}")]
        assert len(values) == 7
        mean = sum(values) / 7
        # Medoids are nearer than random tasks, hard tasks harder.
        assert mean < 1 if select == "k_medoids" else mean > 0.5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("algorithm.outer.slow.ratio=0", "a number above 0 and at most 1 is expected"),
        ("algorithm.outer.slow.ratio=1.5", "a number above 0 and at most 1 is expected"),
        ("algorithm.outer.tasks.select=k_centers", "did you mean 'k_center'?"),
        ("algorithm.outer.tasks.pol=3", "did you mean 'algorithm.outer.tasks.pool'?"),
    ],
)
def test_errors_are_one_line(override: str, message: str, command: Command) -> None:
    code, _, err = command(*WAVES, override)
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
