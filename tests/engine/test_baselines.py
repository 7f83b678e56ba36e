"""Trivial baselines against scikit-learn, task by task, padded or not."""

from typing import Any

import numpy as np
import pytest
import torch
from builders import Blobs, padded, task_of, waves
from numpy.typing import NDArray
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from torch import Tensor

from metarun.core.kinds import Classification, Gaussian, Regression, TaskKind
from metarun.core.tasks import AnyExamples, Examples, PaddedExamples, TaskBatch, batch
from metarun.engine import baselines as module
from metarun.engine.baselines import PENALTIES, baselines, ridge

TASKS = 12


def regression(tasks: int, n: int, q: int, d: int, outputs: int = 1, shift: float = 0.0) -> TaskBatch:
    """Linear tasks with noise, of features that are correlated and may lie far from 0."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    mixing, weights = normal(d, d), normal(tasks, d, outputs)
    x = shift + normal(tasks, n + q, d) @ mixing
    y = (x - shift) @ weights + 3 + normal(tasks, n + q, outputs)
    return batch(Examples(x[:, :n], y[:, :n]), Examples(x[:, n:], y[:, n:]), torch.arange(tasks))


def classification(tasks: int, n: int, q: int, ways: int) -> TaskBatch:
    """Images of classes that overlap; the support set of some tasks lacks a class, and none is balanced."""
    generator = torch.Generator().manual_seed(1)
    middles = torch.randn(ways, 2, 3, generator=generator, dtype=torch.float64)
    y = torch.randint(ways, (tasks, n + q), generator=generator)
    x = 100 + middles[y] + torch.randn(tasks, n + q, 2, 3, generator=generator, dtype=torch.float64)
    return batch(Examples(x[:, :n], y[:, :n]), Examples(x[:, n:], y[:, n:]), torch.arange(tasks))


def with_padding(tasks: TaskBatch, rows: int) -> TaskBatch:
    """The first ``n - number % 3`` examples of each task as they are, and behind them rows that are none."""

    def cut(examples: AnyExamples) -> PaddedExamples:
        parts = []
        for number, (x, y) in enumerate(zip(examples.x, examples.y, strict=True)):
            kept = len(y) - number % 3
            parts.append(padded(Examples(x[:kept], y[:kept]), rows + number % 3))
        return PaddedExamples(*(torch.stack(each) for each in zip(*parts, strict=True)))

    return tasks._replace(support=cut(tasks.support), query=cut(tasks.query))


def plain(examples: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Inputs as rows, and targets, of the real examples of one task."""
    mask = slice(None) if examples.mask is None else examples.mask > 0
    return examples.x[mask].flatten(1).numpy(), examples.y[mask].numpy()


def compared(kind: TaskKind, tasks: TaskBatch, oracle: Any) -> None:
    found = baselines(kind, tasks)
    for number in range(len(tasks.number)):
        task = task_of(tasks, number)
        wanted = oracle(*plain(task.support), *plain(task.query))
        assert wanted.keys() == found.keys()
        for name, value in wanted.items():
            assert float(found[name][number]) == pytest.approx(value, rel=1e-7), (name, number)


def regressors(x: Any, y: Any, queries: Any, truth: Any) -> dict[str, float]:
    centered = x - x.mean(0)
    unit = np.square(centered).sum() / x.shape[1]
    # One output at a time, since each has its own penalty. Of equals scikit-learn takes the first.
    fits = [RidgeCV(unit * np.array(PENALTIES[::-1])).fit(x, y[:, output]) for output in range(y.shape[1])]
    guess = np.stack([fit.predict(queries) for fit in fits], 1)
    return {
        "support_mean": float(np.square(y.mean(0) - truth).mean()),
        "ridge": float(np.square(guess - truth).mean()),
    }


def classifiers(x: Any, y: Any, queries: Any, truth: Any) -> dict[str, float]:
    majority = np.bincount(y).argmax()
    return {
        "nearest_centroid": NearestCentroid().fit(x, y).score(queries, truth),
        "nearest_neighbor": KNeighborsClassifier(1).fit(x, y).score(queries, truth),
        "majority_class": float((truth == majority).mean()),
    }


@pytest.mark.parametrize("padding", [None, 0, 4])
@pytest.mark.parametrize(
    ("n", "d", "outputs", "shift"), [(10, 3, 1, 0.0), (6, 20, 2, 0.0), (40, 5, 1, 1000.0), (5, 1, 1, 0.0)]
)
def test_regression_baselines_are_those_of_scikit_learn(
    n: int, d: int, outputs: int, shift: float, padding: int | None
) -> None:
    tasks = regression(TASKS, n, 7, d, outputs, shift)
    compared(Regression(outputs), tasks if padding is None else with_padding(tasks, padding), regressors)


@pytest.mark.parametrize("padding", [None, 0, 4])
@pytest.mark.parametrize(("n", "ways"), [(10, 3), (25, 5), (6, 8)])
def test_classification_baselines_are_those_of_scikit_learn(n: int, ways: int, padding: int | None) -> None:
    tasks = classification(TASKS, n, 9, ways)
    tasks.support.y[:, 0] = 0  # scikit-learn's nearest centroid wants two classes
    tasks.support.y[:, 1] = 1
    compared(Classification(ways), tasks if padding is None else with_padding(tasks, padding), classifiers)


def test_ridge_penalty_minimizes_the_leave_one_out_error() -> None:
    """Leaving each example out in turn, with a fit for each."""
    tasks = regression(6, 9, 4, 3)
    for number in range(6):
        task = task_of(tasks, number)
        (x, y), (queries, _) = plain(task.support), plain(task.query)
        unit = np.square(x - x.mean(0)).sum() / x.shape[1]
        models = [Ridge(unit * penalty, solver="svd") for penalty in PENALTIES]
        scoring = {"cv": LeaveOneOut(), "scoring": "neg_mean_squared_error"}
        errors = [-cross_val_score(model, x, y[:, 0], **scoring).mean() for model in models]
        wanted = models[int(np.argmin(errors))].fit(x, y[:, 0]).predict(queries)
        found = ridge(task.support.x, task.support.y, torch.ones(9).double(), task.query.x)
        np.testing.assert_allclose(found[:, 0], wanted, rtol=1e-8)


@pytest.mark.parametrize("case", ["one", "same inputs", "same targets", "two"])
def test_support_sets_of_hardly_anything_fall_back_on_the_mean(case: str) -> None:
    x, y = torch.tensor([[1.0, 2.0], [4.0, 2.0], [5.0, 0.0]]).double(), torch.tensor([[1.0], [3.0], [2.5]]).double()
    if case == "one":
        x, y = x[:1], y[:1]
    elif case == "same inputs":
        x = x[:1].expand(3, -1)
    elif case == "same targets":
        y = y[:1].expand(3, -1)
    else:
        x, y = x[:2], y[:2]
    found = ridge(x, y, torch.ones(len(x)).double(), torch.tensor([[9.0, 9.0], [0.0, 1.0]]).double())
    assert found.isfinite().all()
    if case != "two":
        torch.testing.assert_close(found, y.mean(0).expand(2, -1))


def test_majority_class_of_a_balanced_support_set_is_the_first() -> None:
    found = baselines(Classification(3), Blobs().sample("test", 0, 5))
    assert found["majority_class"].tolist() == pytest.approx([1 / 3] * 5)
    assert found["nearest_neighbor"].mean() > 0.4


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    sine, images = waves().sample("test", 0, 7), Blobs().sample("test", 0, 7)
    whole = baselines(Regression(), sine), baselines(Classification(3), images)
    monkeypatch.setattr(module, "LARGEST", 1)
    torch.testing.assert_close((baselines(Regression(), sine), baselines(Classification(3), images)), whole)


def test_non_finite_numbers_do_not_end_the_run() -> None:
    tasks = regression(2, 5, 3, 2)
    tasks.support.x[0, 0, 0], tasks.support.x[1, 0, 0], tasks.query.x[1, 0, 0] = torch.nan, -torch.inf, torch.inf
    found = baselines(Regression(), tasks)
    assert all(values.isfinite().all() for values in found.values())


def test_metric_for_the_comparison_with_baselines() -> None:
    assert Classification(3).baseline_metric == "accuracy"
    assert Classification(3, metric="loss", higher_is_better=False).baseline_metric == "accuracy"
    assert Classification(3, metric="f1").baseline_metric == "f1"
    assert Regression().baseline_metric == Gaussian().baseline_metric == "mse"


def test_baselines_of_a_normal_likelihood_are_judged_by_the_error_of_their_mean() -> None:
    tasks = waves().sample("test", 0, 5)
    torch.testing.assert_close(baselines(Gaussian(), tasks), baselines(Regression(), tasks), rtol=0, atol=0)
