"""Inner steps at test: as trained, or as many as are best on meta-val."""

import json
from collections.abc import Callable
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import ALGORITHMS, CPU, algorithm, settings

import metarun
from metarun.algorithms.gradient_based import GradientBased
from metarun.core.kinds import Classification, Regression, TaskKind
from metarun.engine.evaluation import EvaluationResult
from metarun.runs import checkpoint
from metarun.runs.files import best_file
from metarun.training.best_steps import best_steps

Command = Callable[..., tuple[int, str, str]]
WAVES = (
    "dataset=sinusoid", "model=mlp", "model.hidden=[8,8]", "algorithm.inner_lr=0.02", "algorithm.inner_steps=2",
    "engine.steps=4", "engine.meta_batch_size=3", "engine.val_every=2", "engine.val_episodes=9",
    "engine.test_episodes=7", "device.name=cpu", "device.threads=1", "device.compile=false", "tracking=scalars",
)  # fmt: skip


@pytest.mark.parametrize("name", ALGORITHMS)
def test_test_adapts_like_training(name: str) -> None:
    """But for Reptile, whose authors test with many more, and the method on top of it."""
    chosen = algorithm(name)
    if name in ("reptile", "meml"):
        assert chosen.steps(testing=True) == 50
    elif isinstance(chosen, GradientBased) and chosen.steps(testing=False):
        assert chosen.steps(testing=True) == chosen.steps(testing=False)


@pytest.mark.parametrize(
    ("kind", "curve", "steps"),
    [
        (Classification(5), [0.2, 0.6, 0.7, 0.5], 2),
        (Classification(5), [0.2, 0.7, 0.7, 0.5], 1),
        (Classification(5), [0.4, 0.3, 0.2], 0),
        (Regression(1), [4.0, 2.0, 1.0, 3.0], 2),
        (Regression(1), [4.0, 2.0, nan, 1.5], 3),
        (Regression(1), [inf, nan, inf], 0),
    ],
)
def test_the_best_step_is_the_first_of_the_best(kind: TaskKind, curve: list[float], steps: int) -> None:
    each = torch.tensor([curve, curve], dtype=torch.float64)
    found = best_steps(EvaluationResult({kind.metric: each, "other": -each}), kind)
    assert found.chosen == steps
    assert found.told()["tried"] == len(curve) - 1


def result(folder: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(folder) / "result.json").read_text())
    return content


def done(command: Command, *overrides: str) -> None:
    code, _, err = command(*overrides)
    assert code == 0, err


def test_steps_are_selected_on_meta_val_and_reported(command: Command) -> None:
    done(command, *WAVES, "algorithm.test_steps=best", "hydra.run.dir=best")
    done(command, "mode=test", "checkpoint=best", "algorithm.test_steps=10", "hydra.run.dir=ten")
    told, best = result("best")["test_steps"], result("best")
    assert told["tried"] == 10
    assert told["chosen"] == min(range(11), key=told["meta_val"].__getitem__)
    assert told["meta_val"][10] == pytest.approx(result("ten")["meta_val"]["metrics"]["mse"]["mean"])
    assert best["protocol"]["inner_steps"] == told["chosen"]
    # Everything else is measured with as many steps.
    assert best["meta_val"]["metrics"]["mse"]["mean"] == pytest.approx(told["meta_val"][told["chosen"]])
    assert (
        best["meta_test"]["adaptation"]["mse"]["mean"]
        == result("ten")["meta_test"]["adaptation"]["mse"]["mean"][: told["chosen"] + 1]
    )
    chosen = ("mode=test", "checkpoint=best", f"algorithm.test_steps={told['chosen']}", "hydra.run.dir=chosen")
    done(command, *chosen)
    for stage in ("meta_test", "meta_train", "meta_val"):
        assert result("chosen")[stage] == best[stage]
    assert "test_steps" not in result("chosen")
    assert f"{told['chosen']} inner steps, selected on meta-val from 0 to 10" in Path("best/metarun.log").read_text()


def test_meta_training_validates_as_trained(command: Command) -> None:
    done(command, *WAVES, "hydra.run.dir=trained")
    done(command, *WAVES, "algorithm.test_steps=best", "hydra.run.dir=best")
    trained, best = (checkpoint.read(best_file(Path(folder)), CPU).state.best for folder in ("trained", "best"))
    assert trained is not None
    assert best == trained


def test_loaded_learner_adapts_as_in_the_test(command: Command) -> None:
    done(command, *WAVES, "algorithm.test_steps=best", "hydra.run.dir=best")
    learner, steps = metarun.load("best"), result("best")["test_steps"]["chosen"]
    assert learner.settings.algorithm.steps(testing=True) == steps
    Path("best/result.json").unlink()
    assert metarun.load("best").settings.algorithm.steps(testing=True) == 2


def test_up_to_twice_the_training_steps_are_tried() -> None:
    chosen = replace(settings("algorithm.test_steps=best").algorithm, inner_steps=7)
    assert (chosen.max_tried_steps, chosen.steps(testing=True)) == (14, 7)


def test_another_word_is_refused(command: Command) -> None:
    code, _, err = command("algorithm.test_steps=most")
    assert (code, err.count("\n")) == (2, 1)
    assert "algorithm.test_steps=most" in err
    assert "best" in err
