"""Tasks whose inputs have two parts: every start and rule goes through them as through a tensor."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from builders import CONV, CPU, HYPERNET, MLP, alone, build, looped, moved, padded, task_of

from metarun.core.inputs import Input
from metarun.core.kinds import Classification
from metarun.core.tasks import Task
from metarun.datasets.base import Dataset
from metarun.datasets.user import UserTasks
from metarun.engine.evaluation import Evaluator
from metarun.engine.meta_gradient import MetaGradient
from metarun.training.outer_optimizer import OuterOptimizer

FILM = ("hypernet=film", *HYPERNET[1:])


@dataclass(kw_only=True)
class Marked(UserTasks):
    """Four classes: the image tells one of two pairs, and a number, now and then missing, which of the pair."""

    shots: int = 3
    queries: int = 2
    kind = Classification(4)
    input_shape = {"image": (1, 8, 8), "mark": Input((1,), optional=True)}  # noqa: RUF012

    def task(self, split: str, generator: np.random.Generator) -> Any:
        patterns = 2 * generator.normal(size=(2, 1, 8, 8))
        return *self._drawn(patterns, self.shots, generator), *self._drawn(patterns, self.queries, generator)

    def _drawn(self, patterns: Any, each: int, generator: np.random.Generator) -> Any:
        y = np.repeat(np.arange(4), each)
        image = patterns[y // 2] + generator.normal(size=(len(y), 1, 8, 8))
        mark = 4 * (y % 2)[:, None] - 2 + 0.1 * generator.normal(size=(len(y), 1))
        mark[generator.uniform(size=len(y)) < 0.1] = np.nan
        return {"image": image, "mark": mark}, y


def marked() -> Dataset:
    return Marked().load(0, CPU, torch.float64)


PARTS = [("algorithm=maml",), ("algorithm=protonet",), ("algorithm=maml", *FILM), ("algorithm=r2d2",)]
FISHER = ("hypernet=film", "hypernet.hidden=[8]", "embedding=fisher", "embedding.size=4")


@pytest.mark.parametrize("model", [CONV, MLP], ids=["conv4", "mlp"])
@pytest.mark.parametrize("parts", [*PARTS, ("algorithm=maml", *FISHER)], ids=" ".join)
def test_batched_equals_a_loop_over_tasks(parts: tuple[str, ...], model: tuple[str, ...]) -> None:
    dataset = marked()
    learner, phi = build(dataset, *parts, *model)
    phi, batch = moved(phi, 0.02), dataset.sample("train", 0, 4)
    wanted, means = looped(learner, phi, batch)
    gradient, metrics = MetaGradient(learner, 3, compiled=False)(phi, batch)
    torch.testing.assert_close((gradient, metrics), (wanted, means), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("model", [CONV, MLP], ids=["conv4", "mlp"])
def test_padding_changes_nothing(model: tuple[str, ...]) -> None:
    dataset = marked()
    learner, phi = build(dataset, "algorithm=maml", *FILM, *model)
    task = task_of(dataset.sample("test", 0, 1), 0)
    filled = task._replace(support=padded(task.support, 3), query=padded(task.query, 2))

    def objective(task: Task) -> Any:
        draws = {name: value[0] for name, value in learner.draws(alone(task), False, 0.0).items()}
        return learner.objective(moved(phi), task, draws)

    torch.testing.assert_close(objective(task), objective(filled), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("parts", PARTS[:3], ids=" ".join)
def test_both_parts_are_learned_from(parts: tuple[str, ...]) -> None:
    """The image alone tells half of what there is to tell; so does the mark."""
    dataset = marked()
    learner, phi = build(dataset, *parts, "model=conv4", "model.channels=8", "model.layers=2")
    optimizer = OuterOptimizer(learner.algorithm.outer, phi, clip=10.0)  # type: ignore[attr-defined]
    meta_gradient = MetaGradient(learner, None, compiled=False)
    for step in range(150):
        optimizer.step(meta_gradient(phi, dataset.sample("train", step, 8))[0], 0.01)
    assert Evaluator(learner)(phi, dataset, "test", 100).mean("accuracy") > 0.7


def test_a_model_for_one_image_refuses_two() -> None:
    @dataclass(kw_only=True)
    class Twice(Marked):
        input_shape = {"left": (1, 8, 8), "right": (1, 8, 8)}  # noqa: RUF012

        def task(self, split: str, generator: np.random.Generator) -> Any:
            x = {side: generator.normal(size=(4, 1, 8, 8)) for side in ("left", "right")}
            return x, np.arange(4), x, np.arange(4)

    dataset = Twice().load(0, CPU, torch.float64)
    with pytest.raises(Exception, match="model=conv4: takes one image, and this dataset's inputs have shape"):
        build(dataset, *CONV)
    build(dataset, *MLP)
