"""What every algorithm must be, as functions, for the tests that ask it of the files' settings and of others."""

from typing import Any

import torch
from builders import CONV, MLP, Blobs, alone, build, looped, moved, padded, task_of, waves
from torch import Tensor
from torch.utils._pytree import tree_leaves

from metarun.algorithms.base import Draws
from metarun.core.tasks import Examples, PaddedExamples, Task
from metarun.datasets.base import Dataset
from metarun.engine.compile.compilation import BEGINNING_AND_END
from metarun.engine.meta_gradient import MetaGradient
from metarun.learner.learner import Learner, MetaParameters

SHORT = {"inner_steps": 2, "test_steps": 3, "inner_lr": 0.05}
WHOLE = {"minibatch": None, "test_minibatch": None}

PROBLEMS: dict[str, tuple[Dataset, tuple[str, ...]]] = {
    "classification": (Blobs(), CONV),
    "regression": (waves(), MLP),
    "gaussian": (waves(), (*MLP, "likelihood=gaussian")),
}


def made(name: str, problem: str, *overrides: str, **changes: Any) -> tuple[Learner, MetaParameters, Dataset]:
    """A learner with φ away from its start, so that nothing is zero by chance of the initialization."""
    dataset, model = PROBLEMS[problem]
    learner, phi = build(dataset, f"algorithm={name}", *model, *overrides, **{**SHORT, **changes})
    phi = moved(phi, 0.02)
    return learner, phi, dataset


def drawn(learner: Learner, task: Task, testing: bool) -> Draws:
    return {name: value[0] for name, value in learner.draws(alone(task), testing, 0.0).items()}


def predicted(learner: Learner, phi: MetaParameters, task: Task, steps: int | None = None) -> Tensor:
    """Query predictions after ``steps`` inner steps, as at meta-test; ``None``: all of them."""
    state, draws = (
        learner.algorithm.initial_state(phi["algorithm"], learner.start(phi, task, testing=True)),
        drawn(learner, task, testing=True),
    )
    for number in range(learner.algorithm.steps(testing=True) if steps is None else steps):
        state = learner.algorithm.step(learner.for_task(phi), phi["algorithm"], state, task.support, number, draws)
    return learner.algorithm.predict(learner.for_task(phi), phi["algorithm"], state, task.support, task.query.x)


def check_batched_equals_a_loop(name: str, problem: str, *overrides: str) -> None:
    """The meta-gradient and metrics of a batch of tasks are those of a loop over them, in chunks too."""
    learner, phi, dataset = made(name, problem, *overrides)
    batch = dataset.sample("train", 0, 7)
    for chunk, progress in zip((None, 3), BEGINNING_AND_END, strict=True):
        wanted, means = looped(learner, phi, batch, progress)
        assert sum(float(part.abs().sum()) for part in tree_leaves(wanted)) > 0
        gradient, metrics = MetaGradient(learner, chunk, compiled=False)(phi, batch, progress)
        torch.testing.assert_close((gradient, metrics), (wanted, means), rtol=1e-9, atol=1e-9)


def check_padding_changes_nothing(name: str, problem: str, *overrides: str) -> None:
    """Rows of padding, whatever stands in them, change neither objective nor adaptation curve."""
    learner, phi, dataset = made(name, problem, *overrides)
    task = task_of(dataset.sample("train", 0, 1), 0)
    filled = task._replace(support=padded(task.support, 3), query=padded(task.query, 2))
    (objective, metrics), (other, others) = (
        learner.objective(phi, each, drawn(learner, each, testing=False)) for each in (task, filled)
    )
    torch.testing.assert_close((objective, metrics), (other, others), rtol=1e-9, atol=1e-9)
    curve, padded_curve = (learner.curve(phi, each, drawn(learner, each, testing=True)) for each in (task, filled))
    torch.testing.assert_close(curve[:2], padded_curve[:2], rtol=1e-9, atol=1e-9)
    for answer, given in curve.answers.items():
        assert padded_curve.answers[answer].tolist() == [*given.tolist(), -1, -1]
    # Whatever stands in those rows.
    noisy = filled._replace(support=filled.support._replace(x=filled.support.x + 5 * (1 - spread(filled.support))))
    again, _ = learner.objective(phi, noisy, drawn(learner, noisy, testing=False))
    torch.testing.assert_close(again, other, rtol=1e-9, atol=1e-9)


def spread(examples: PaddedExamples) -> Tensor:
    return examples.mask.view(-1, *[1] * (examples.x.dim() - 1))


def check_a_repeated_support_set_adapts_alike(name: str, problem: str, *overrides: str) -> None:
    """Every loss is a mean over examples: a sum would rescale the step size."""
    learner, phi, dataset = made(name, problem, *overrides, **WHOLE)
    task = task_of(dataset.sample("test", 0, 1), 0)
    twice = task._replace(support=Examples(*(torch.cat((part, part)) for part in task.support)))
    one, other = predicted(learner, phi, task), predicted(learner, phi, twice)
    if problem == "gaussian" and name in ("r2d2", "metaopt"):  # their variance is a posterior's: it falls with examples
        before, after = (learner.model.kind.distribution(prediction)["std"] for prediction in (one, other))
        assert (after < before).all()
        one, other = (learner.model.kind.decision(prediction) for prediction in (one, other))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-9)
