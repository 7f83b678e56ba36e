"""What every ``conf/algorithm/*.yaml`` must be, whatever its method: a new file there is covered by itself."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from builders import (
    ALGORITHMS,
    HYPERNET,
    Blobs,
    able,
    algorithm,
    build,
    task_of,
    waves,
)
from contract import (
    PROBLEMS,
    check_a_repeated_support_set_adapts_alike,
    check_batched_equals_a_loop,
    check_padding_changes_nothing,
    drawn,
    made,
    predicted,
)
from torch.func import functional_call

from metarun.algorithms.base import Learned
from metarun.core.kinds import TaskKind
from metarun.core.tasks import Examples, Task
from metarun.datasets.base import Dataset
from metarun.engine.evaluation import Evaluator
from metarun.engine.meta_gradient import MetaGradient
from metarun.models.normalization import Context
from metarun.training.outer_optimizer import OuterOptimizer

FILM = ("hypernet=film", *HYPERNET[1:])


def cases(*, learned: bool = False) -> list[Any]:
    return [
        pytest.param(name, problem, id=f"{name}-{problem}")
        for name in ALGORITHMS
        for problem in PROBLEMS
        if able(name, PROBLEMS[problem][0]) and (not learned or isinstance(algorithm(name), Learned))
    ]


@pytest.mark.parametrize(("name", "problem"), cases(learned=True))
@pytest.mark.parametrize("hypernet", [(), HYPERNET, FILM], ids=["plain", "full", "film"])
def test_batched_equals_a_loop_over_tasks(name: str, problem: str, hypernet: tuple[str, ...]) -> None:
    check_batched_equals_a_loop(name, problem, *hypernet)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", ["maml", "meta_sgd"])
@pytest.mark.parametrize("hypernet", [(), HYPERNET], ids=["plain", "hypernet"])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_batched_equals_a_loop_without_function_transforms(
    name: str, order: int, hypernet: tuple[str, ...], problem: str
) -> None:
    """The inner loop written out with `torch.autograd`: nothing of `torch.func`, and no code of the algorithms."""
    learner, phi, dataset = made(name, problem, *hypernet, order=order)
    batch = dataset.sample("train", 0, 4)
    leaves = {group: {n: t.clone().requires_grad_() for n, t in tensors.items()} for group, tensors in phi.items()}
    flat = [tensor for tensors in leaves.values() for tensor in tensors.values()]
    network, loss = learner.model.network, learner.model.kind.loss
    total = torch.zeros((), dtype=torch.float64)
    for number in range(4):
        task = task_of(batch, number)
        support, query = task.support, task.query
        theta = dict(learner.start(leaves, task, testing=False))
        for _ in range(2):
            value = loss(functional_call(network, theta, (support.x, Context())), support.y)
            # The graph is kept for the tasks and steps to come; at first order it is not differentiated.
            gradient = torch.autograd.grad(value, list(theta.values()), create_graph=order == 2, retain_graph=True)
            theta = {
                n: t - (leaves["algorithm"][f"rate.{n}"] if name == "meta_sgd" else 0.05) * g
                for (n, t), g in zip(theta.items(), gradient, strict=True)
            }
        rows = len(support.x)
        seen = Context(rows if learner.model.normalization == "batch" else None)
        out = functional_call(network, theta, (torch.cat((support.x, query.x)), seen))
        total = total + loss(out[rows:], query.y) / 4
    wanted = iter(torch.autograd.grad(total, flat, allow_unused=True))
    gradients, _ = MetaGradient(learner, 3, compiled=False)(phi, batch)
    for group, tensors in leaves.items():
        for n in tensors:
            torch.testing.assert_close(gradients[group][n], next(wanted), rtol=1e-9, atol=1e-9)


def padding_cases() -> list[Any]:
    """`cases`, inductive and transductive: these differ only where the network has normalization."""
    return [
        pytest.param(name, problem, transductive, id=f"{name}-{problem}-{'trans' if transductive else 'in'}ductive")
        for name, problem in (case.values for case in cases(learned=True))
        for transductive in (False, True)
        if not (transductive and problem != "classification")
    ]


@pytest.mark.parametrize(("name", "problem", "transductive"), padding_cases())
@pytest.mark.parametrize("hypernet", [(), HYPERNET], ids=["plain", "hypernet"])
def test_padding_changes_nothing(name: str, problem: str, transductive: bool, hypernet: tuple[str, ...]) -> None:
    check_padding_changes_nothing(name, problem, *hypernet, f"engine.transductive={transductive}")


@pytest.mark.parametrize(("name", "problem"), cases())
@pytest.mark.parametrize("hypernet", [(), HYPERNET], ids=["plain", "hypernet"])
def test_repeated_support_set_gives_the_same_adaptation(name: str, problem: str, hypernet: tuple[str, ...]) -> None:
    check_a_repeated_support_set_adapts_alike(name, problem, *hypernet)


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if able(name, PROBLEMS["classification"][0])])
@pytest.mark.parametrize("normalization", ["batch", "running", "group", "none"])
def test_inductive_predictions_do_not_depend_on_other_queries(name: str, normalization: str) -> None:
    learner, phi, dataset = made(name, "classification", f"model.normalization={normalization}")
    task = task_of(dataset.sample("test", 0, 1), 0)
    other = others_changed(task)
    one, another = (predicted(learner, phi, each)[0] for each in (task, other))
    torch.testing.assert_close(one, another, rtol=0, atol=1e-12)
    alone = task._replace(query=Examples(task.query.x[:1], task.query.y[:1]))
    torch.testing.assert_close(predicted(learner, phi, alone)[0], one, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if able(name, PROBLEMS["classification"][0])])
def test_transductive_predictions_depend_on_other_queries(name: str) -> None:
    """Or the test above could not fail."""
    learner, phi, dataset = made(name, "classification", "engine.transductive=true")
    task = task_of(dataset.sample("test", 0, 1), 0)
    one, another = (predicted(learner, phi, each)[0] for each in (task, others_changed(task)))
    assert (one - another).abs().max() > 1e-3


def others_changed(task: Task) -> Task:
    x = task.query.x.clone()
    x[1:] = 3 * x[1:].flip(0) + 1
    return task._replace(query=Examples(x, task.query.y))


@pytest.mark.parametrize(("name", "problem"), cases())
def test_the_curve_goes_from_the_unadapted_model_to_the_last_step(name: str, problem: str) -> None:
    batch = ("model.normalization=batch",) if problem == "classification" else ()  # as in the call of the network below
    learner, phi, dataset = made(name, problem, *batch)
    task = task_of(dataset.sample("test", 0, 1), 0)
    curve, *_ = learner.curve(phi, task, drawn(learner, task, testing=True))
    steps = learner.algorithm.steps(testing=True)
    kind: TaskKind = learner.model.kind
    for point in range(steps + 1):
        expected = kind.metrics(predicted(learner, phi, task, steps=point), task.query.y)
        for metric, values in curve.items():
            assert values.shape == (steps + 1,)
            torch.testing.assert_close(values[point], expected[metric], rtol=1e-12, atol=1e-12)
    if learner.algorithm.needs_head:
        rows = len(task.support.x)
        both = torch.cat((task.support.x, task.query.x))
        # Most begin at θ₀ itself; a few put something of their own in its place.
        theta = learner.algorithm.initial_state(phi["algorithm"], phi["theta"]).theta
        unadapted = functional_call(learner.model.network, theta, (both, Context(support=rows)))[rows:]
        for metric, value in kind.metrics(unadapted, task.query.y).items():
            torch.testing.assert_close(curve[metric][0], value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "problem"), cases())
def test_evaluation_has_no_side_effects(name: str, problem: str) -> None:
    learner, phi, dataset = made(name, problem, "model.normalization=running")
    modules = (learner.model.network, learner.model.algorithm_network, learner.embedding, learner.hypernet)
    before = [{n: t.clone() for n, t in module.state_dict().items()} for module in modules]
    copy = {group: {n: t.clone() for n, t in tensors.items()} for group, tensors in phi.items()}
    first, second = (Evaluator(learner, 2)(phi, dataset, "test", 5).curves for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(phi, copy, rtol=0, atol=0)
    torch.testing.assert_close([dict(module.state_dict()) for module in modules], before, rtol=0, atol=0)


STEP_SIZES: dict[str, dict[str, Any]] = {
    "classification": {"inner_lr": 0.4},
    "regression": {"inner_lr": 0.01},
    "gaussian": {"inner_lr": 0.05},
}
TUNED: dict[tuple[str, str], dict[str, Any]] = {
    ("reptile", "classification"): {"inner_lr": 0.02, "inner_steps": 4, "test_steps": 10, "test_minibatch": None},
    ("reptile", "regression"): {"inner_lr": 0.01, "test_steps": 10},
    ("meml", "classification"): {
        "blocks": 1,
        "inner_lr": 0.02,
        "inner_steps": 4,
        "test_steps": 10,
        "test_minibatch": None,
    },
    ("meml", "regression"): {"inner_lr": 0.01, "test_steps": 10},
    ("fomaml", "regression"): {"inner_lr": 0.01, "inner_steps": 5},
    ("finetune", "gaussian"): {"inner_lr": 0.01},
    ("imaml", "gaussian"): {"inner_lr": 0.05, "inner_steps": 4},
    ("fomaml", "gaussian"): {"inner_lr": 0.05, "inner_steps": 5},
    ("maml_pp", "regression"): {"inner_steps": 2},
    ("cavia", "classification"): {"contexts": 100, "inner_lr": 1.0, "inner_steps": 3},
    ("cavia", "regression"): {"inner_lr": 1.0},
    ("imaml", "classification"): {"inner_steps": 8, "proximal": 0.1},
    ("cnp", "classification"): {"encoder": [128], "decoder": [128]},
    ("transformer", "regression"): {"layers": 2, "width": 16},
}
"""Where a method needs other settings than MAML-like ones to learn a small problem within seconds."""
SLOW_LEARNERS: dict[tuple[str, str], tuple[int, float]] = {
    ("cavia", "classification"): (160, 0.5),
    ("joint", "regression"): (300, 0.8),
    ("finetune", "regression"): (300, 0.8),
    # Their start is drawn to where single tasks are fitted, so the variance is too small; the mean is learned.
    ("reptile", "gaussian"): (300, 0.7),
    ("meml", "gaussian"): (300, 0.7),
}
"""Where a method needs more meta-updates, or can by its nature not reach the level asked of the others.

Meta-updates, and the accuracy, or the error's share of that before."""


@pytest.mark.parametrize(("name", "problem"), cases(learned=True))
def test_it_learns(name: str, problem: str) -> None:
    """To where neither chance nor adaptation from its untrained start comes."""
    dataset: Dataset = Blobs(ways=4, shots=5, queries=3, noise=2) if problem == "classification" else waves(10, 10)
    model = ("model=conv4", "model.channels=8", "model.layers=2") if problem == "classification" else ("model=mlp",)
    labels = "classification" if problem == "classification" else "regression"
    tuned = TUNED.get((name, problem), TUNED.get((name, labels), {}))
    changes = STEP_SIZES[problem] | {"test_steps": None} | tuned
    learner, phi = build(
        dataset, f"algorithm={name}", *model, *(("likelihood=gaussian",) if problem == "gaussian" else ()), **changes
    )
    assert isinstance(learner.algorithm, Learned)
    metric = learner.model.kind.baseline_metric
    before = Evaluator(learner)(phi, dataset, "test", 100)
    outer = replace(learner.algorithm.outer, optimizer="adam", lr=0.01, momentum=0.9)
    optimizer = OuterOptimizer(outer, phi, clip=10.0)
    meta_gradient = MetaGradient(learner, None, compiled=False)
    steps, level = SLOW_LEARNERS.get(
        (name, problem), SLOW_LEARNERS.get((name, labels), (80, 0.8) if problem == "classification" else (300, 0.5))
    )
    for step in range(steps):
        gradient, _ = meta_gradient(phi, dataset.sample("train", step, 8), step / steps)
        optimizer.step(gradient, outer.lr)
    after = Evaluator(learner)(phi, dataset, "test", 100)
    if problem == "classification":
        assert after.mean(metric) > level, "chance is 0.25"
        assert 1 - after.mean(metric) < 0.7 * (1 - before.mean(metric))
    elif problem == "regression" or (name, problem) in SLOW_LEARNERS:
        assert after.mean(metric) < level * before.mean(metric)
    else:
        # Where targets are uncertain their errors count less, so errors fall later than with the squared loss.
        y = dataset.sample("test", 0, 100).query.y
        constant = (math.log(2 * math.pi * float(y.var())) + 1) / 2
        assert after.mean("nll") < constant - 0.15, "no better than one normal distribution for all"
        assert 0.8 < after.mean("coverage") < 0.99
