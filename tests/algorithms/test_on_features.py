"""What holds of everything that predicts from features of a support set, whatever it makes of them."""

import pytest
import torch
from builders import ALGORITHMS, CONV, MLP, Blobs, able, algorithm, build, moved, padded, task_of, waves
from torch import Tensor

from metarun.algorithms.on_features import OnFeatures
from metarun.core.tasks import AnyExamples, Examples, Task
from metarun.datasets.base import Dataset
from metarun.learner.learner import Learner, MetaParameters

PROBLEMS: dict[str, tuple[Dataset, tuple[str, ...]]] = {"classes": (Blobs(), CONV), "targets": (waves(), MLP)}
METHODS = [name for name in ALGORITHMS if isinstance(algorithm(name), OnFeatures)]
CASES = [(name, problem) for name in METHODS for problem, (dataset, _) in PROBLEMS.items() if able(name, dataset)]


def made(name: str, problem: str) -> tuple[Learner, MetaParameters, Task]:
    dataset, model = PROBLEMS[problem]
    learner, phi = build(dataset, *model, f"algorithm={name}", "model.normalization=none")
    return learner, moved(phi), task_of(dataset.sample("train", 0, 1), 0)


def predicted(learner: Learner, phi: MetaParameters, support: AnyExamples, x: Tensor) -> Tensor:
    state = learner.algorithm.initial_state(phi["algorithm"], phi["theta"])
    return learner.algorithm.predict(learner.model, phi["algorithm"], state, support, x)


def test_methods_on_features_are_found() -> None:
    """Otherwise the tests below would have no cases."""
    assert {"protonet", "matching", "r2d2", "metaopt", "cnp", "transformer"} <= set(METHODS)


@pytest.mark.parametrize(("name", "problem"), CASES)
def test_the_order_of_the_support_set_does_not_matter(name: str, problem: str) -> None:
    learner, phi, task = made(name, problem)
    order = torch.randperm(len(task.support.y), generator=torch.Generator().manual_seed(0))
    one, other = (predicted(learner, phi, s, task.query.x) for s in (task.support, task.support.rows(order)))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("name", "problem"), CASES)
def test_a_query_is_predicted_by_itself(name: str, problem: str) -> None:
    learner, phi, task = made(name, problem)
    whole = predicted(learner, phi, task.support, task.query.x)
    for number, x in enumerate(task.query.x):
        torch.testing.assert_close(predicted(learner, phi, task.support, x[None])[0], whole[number], rtol=0, atol=1e-9)


@pytest.mark.parametrize(("name", "problem"), CASES)
def test_predictions_depend_on_the_support_set(name: str, problem: str) -> None:
    learner, phi, task = made(name, problem)
    y = (task.support.y + 1) % 3 if problem == "classes" else -task.support.y
    one, another = (predicted(learner, phi, s, task.query.x) for s in (task.support, Examples(task.support.x, y)))
    assert (one - another).abs().max() > 1e-3


@pytest.mark.parametrize("name", [name for name, problem in CASES if problem == "classes"])
def test_classes_by_other_numbers_are_the_same_classes(name: str) -> None:
    learner, phi, task = made(name, "classes")
    renumbered = torch.tensor([2, 0, 1])
    other = Examples(task.support.x, renumbered[task.support.y])
    one, another = (predicted(learner, phi, support, task.query.x) for support in (task.support, other))
    torch.testing.assert_close(another[:, renumbered], one, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("name", "problem"), [case for case in CASES if algorithm(case[0]).attends])
def test_attention_is_shared_by_examples_alone(name: str, problem: str) -> None:
    learner, phi, task = made(name, problem)
    state = learner.algorithm.initial_state(phi["algorithm"], phi["theta"])
    filled = padded(task.support, 2)
    filled = filled._replace(x=filled.x + 7 * (1 - filled.mask).view(-1, *[1] * (filled.x.dim() - 1)))
    bare, weights = (
        learner.algorithm.attention(learner.model, phi["algorithm"], state, support, task.query.x)
        for support in (task.support, filled)
    )
    count = len(task.support.y)
    assert (weights[:, count:] == 0).all()
    torch.testing.assert_close(weights[:, :count], bare, rtol=0, atol=1e-12)
    torch.testing.assert_close(bare.sum(1), torch.ones(len(task.query.x), dtype=torch.float64))
