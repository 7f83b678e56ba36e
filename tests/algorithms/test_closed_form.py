"""Ridge regression against scikit-learn and against itself."""

from typing import Any

import pytest
import torch
from builders import CONV, MLP, Blobs, build, moved, padded, settings, task_of, waves
from torch import Tensor

from metarun.algorithms.closed_form import leverages, ridge
from metarun.algorithms.on_features import SupportFeatures
from metarun.core.errors import UserError
from metarun.core.tasks import Examples, Task
from metarun.datasets.base import Dataset
from metarun.learner.learner import Learner, MetaParameters

METHODS = [("r2d2",), ("metaopt", "algorithm.head=svm"), ("metaopt", "algorithm.head=ridge")]


def problem(rows: int, features: int, outputs: int = 3, dtype: torch.dtype = torch.float64) -> SupportFeatures:
    generator = torch.Generator().manual_seed(rows)
    z = torch.randn(rows, features, generator=generator, dtype=dtype) + 0.5
    y = torch.randn(rows, outputs, generator=generator, dtype=dtype)
    return SupportFeatures(z, y, torch.ones(rows, 1, dtype=dtype))


def filled(support: SupportFeatures, rows: int) -> SupportFeatures:
    return SupportFeatures(*(torch.cat((part, part.new_zeros(rows, part.shape[1]))) for part in support))


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize(("rows", "features"), [(5, 12), (12, 12), (30, 4), (1, 3)])
def test_ridge_equals_scikit_learn(rows: int, features: int, penalty: float) -> None:
    from sklearn import linear_model

    support = problem(rows, features)
    wanted = linear_model.Ridge(alpha=rows * penalty, fit_intercept=False, solver="svd", tol=0)
    wanted.fit(support.features.numpy(), support.labels.numpy())
    torch.testing.assert_close(ridge(support, penalty), torch.from_numpy(wanted.coef_.T.copy()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("rows", "features"), [(5, 12), (30, 4)])
def test_ridge_minimizes_the_mean_squared_error_and_the_penalty(rows: int, features: int) -> None:
    support, penalty = problem(rows, features), 0.3
    weights = ridge(support, penalty).requires_grad_()
    loss = (support.features @ weights - support.labels).square().sum(1).mean() + penalty * weights.square().sum()
    (slope,) = torch.autograd.grad(loss, weights)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-11)


def test_by_rows_and_by_features_are_the_same() -> None:
    """Rows that fill up make as many rows as there are features and more, which changes which system is solved."""
    support = problem(5, 12)
    few, many = ridge(filled(support, 7), 0.3), ridge(filled(support, 8), 0.3)
    torch.testing.assert_close(few, many, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(few, ridge(support, 0.3), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("rows", "features"), [(3, 5), (6, 3)])
def test_the_gradients_of_ridge_are_those_of_finite_differences(rows: int, features: int) -> None:
    support = problem(rows, features)

    def fitted(z: Tensor, y: Tensor, log_penalty: Tensor) -> Tensor:
        return ridge(SupportFeatures(z, y, support.mask), log_penalty.exp())

    given = (support.features, support.labels, torch.tensor(-1.0, dtype=torch.float64))
    inputs = tuple(part.clone().requires_grad_() for part in given)
    assert torch.autograd.gradcheck(fitted, inputs)
    assert torch.autograd.gradgradcheck(fitted, inputs)


@pytest.mark.parametrize("features", [2, 40])
@pytest.mark.parametrize("rows", [1, 2, 10])
def test_equal_rows_and_a_vanishing_penalty_leave_single_precision_sound(rows: int, features: int) -> None:
    """There is but one row to fit, however often it comes; its targets' mean is what can be had."""
    one = problem(1, features, dtype=torch.float32)
    targets = problem(rows, features, dtype=torch.float32).labels
    support = SupportFeatures(30 * one.features.expand(rows, -1), targets, torch.ones(rows, 1))
    log_penalty = torch.tensor(-40.0, requires_grad=True)
    prediction = support.features @ ridge(support, log_penalty.exp())
    torch.testing.assert_close(prediction, targets.mean(0).expand_as(prediction), rtol=0, atol=2e-2)
    (slope,) = torch.autograd.grad(prediction.square().sum(), log_penalty)
    assert slope.isfinite()


def test_non_finite_features_propagate_without_error() -> None:
    """The engine says what to do about them, at which step."""
    for rows in (3, 30):
        support = problem(rows, 5)
        broken = support._replace(features=support.features * float("nan"))
        assert ridge(broken, 1.0).isnan().all()


def made(method: tuple[str, ...], dataset: Dataset, *overrides: str, **changes: Any) -> tuple[Learner, MetaParameters]:
    learner, phi = build(dataset, f"algorithm={method[0]}", *method[1:], *overrides, **changes)
    return learner, moved(phi)


def predicted(learner: Learner, phi: MetaParameters, task: Task) -> Tensor:
    params = phi["algorithm"]
    state = learner.algorithm.initial_state(params, phi["theta"])
    return learner.algorithm.predict(learner.model, params, state, task.support, task.query.x)


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_the_support_set_does_not_matter(method: tuple[str, ...]) -> None:
    learner, phi = made(method, Blobs(), *CONV)
    task = task_of(Blobs().sample("train", 0, 1), 0)
    order = torch.randperm(len(task.support.y), generator=torch.Generator().manual_seed(0))
    shuffled = task._replace(support=task.support.rows(order))
    torch.testing.assert_close(predicted(learner, phi, task), predicted(learner, phi, shuffled), rtol=0, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_classes_are_treated_equally(method: tuple[str, ...]) -> None:
    """Numbering them otherwise numbers the logits otherwise."""
    learner, phi = made(method, Blobs(), *CONV)
    task = task_of(Blobs().sample("train", 0, 1), 0)
    renumbered = task._replace(support=task.support._replace(y=(task.support.y + 1) % 3))
    one, other = predicted(learner, phi, task), predicted(learner, phi, renumbered)
    torch.testing.assert_close(one.roll(1, 1), other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shots", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_class_without_examples_has_finite_low_logits(method: tuple[str, ...], shots: int) -> None:
    learner, phi = made(method, Blobs(shots=shots), *CONV)
    task = task_of(Blobs(shots=shots).sample("train", 0, 1), 0)
    lacking = padded(task.support.rows(task.support.y != 1), 2)  # rows that fill up are labeled 0
    logits = predicted(learner, phi, task._replace(support=lacking, query=Examples(*task.support)))
    assert logits.isfinite().all()
    assert set(logits.argmax(1).tolist()) == {0, 2}


@pytest.mark.parametrize("method", METHODS)
def test_twenty_classes_of_one_example_are_separated(method: tuple[str, ...]) -> None:
    """Asked about the examples that they were fitted to, which independent features can tell apart."""
    dataset = Blobs(ways=20, shots=1, queries=1)
    learner, phi = made(method, dataset, "model=conv4", "model.channels=16", "model.layers=2", penalty=1e-3)
    task = task_of(dataset.sample("train", 0, 1), 0)
    logits = predicted(learner, phi, task._replace(query=task.support))
    torch.testing.assert_close(logits.argmax(1), task.support.y)


@pytest.mark.parametrize("method", METHODS)
def test_more_ways_in_training_than_in_testing(method: tuple[str, ...]) -> None:
    class MoreWays(Blobs):
        def kind(self, stream: str) -> Any:
            return type(super().kind(stream))(5 if stream == "train" else 3)

    learner, phi = made(method, MoreWays(), *CONV)
    objective, metrics = learner.objective(phi, task_of(Blobs(ways=5).sample("train", 0, 1), 0), {})
    assert objective.isfinite()
    assert 0 <= metrics["accuracy"] <= 1


@pytest.mark.parametrize("method", METHODS)
def test_initial_penalty_and_scale_as_set(method: tuple[str, ...]) -> None:
    learner, phi = build(Blobs(), f"algorithm={method[0]}", *method[1:], *CONV, scale=7.0, penalty=0.2)
    assert begun(learner, phi) == pytest.approx((0.2, 7.0))


def begun(learner: Learner, phi: MetaParameters) -> tuple[float, float]:
    """λ and α."""
    params = phi["algorithm"]
    return float(learner.algorithm.weight(params, learner.model.kind)), params["log_scale"].exp().item()


@pytest.mark.parametrize(
    ("method", "kind"),
    [(m, kind) for m in METHODS for kind in ("classes", "targets") if not (kind == "targets" and "svm" in m[-1])],
)
def test_initial_penalty_and_scale_depend_on_the_kind(method: tuple[str, ...], kind: str) -> None:
    if kind == "classes":
        learner, phi = build(Blobs(), f"algorithm={method[0]}", *method[1:], *CONV)
    else:
        learner, phi = build(waves(), f"algorithm={method[0]}", *method[1:], *MLP)
    assert begun(learner, phi) == pytest.approx((1.0, 10.0) if kind == "classes" else (0.001, 1.0))


@pytest.mark.parametrize("key", ["penalty", "scale"])
@pytest.mark.parametrize("name", ["r2d2", "metaopt"])
def test_penalty_and_scale_must_be_positive(name: str, key: str) -> None:
    with pytest.raises(UserError, match=f"algorithm.{key}=0"):
        settings(f"algorithm={name}", f"algorithm.{key}=0")


@pytest.mark.parametrize("penalty", [1e-3, 1.0])
@pytest.mark.parametrize(("rows", "features"), [(5, 12), (12, 12), (30, 4), (1, 3)])
def test_leverages_are_the_variance_of_a_gaussian_process_of_scikit_learn(
    rows: int, features: int, penalty: float
) -> None:
    """With the linear kernel z·z', whose posterior variance is nλ times the leverage."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import DotProduct

    support, held = problem(rows, features), rows * penalty
    queries = torch.randn(6, features, dtype=torch.float64)
    process = GaussianProcessRegressor(DotProduct(0.0, "fixed"), alpha=held, optimizer=None)
    process.fit(support.features.numpy(), support.labels.numpy())
    _, std = process.predict(queries.numpy(), return_std=True)
    wanted = torch.from_numpy(std[:, 0] ** 2 / held)
    torch.testing.assert_close(leverages(support, penalty, queries), wanted, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(leverages(filled(support, 7), penalty, queries), wanted, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("method", [("r2d2",), ("metaopt", "algorithm.head=ridge")])
def test_predicted_variance_is_noise_plus_fit_uncertainty(method: tuple[str, ...]) -> None:
    dataset = waves(6, 5)
    learner, phi = build(dataset, f"algorithm={method[0]}", *method[1:], *MLP, "likelihood=gaussian")
    phi["algorithm"]["log_noise"].fill_(-1.0)
    task, kind = task_of(dataset.sample("test", 0, 1), 0), learner.model.kind
    state = learner.algorithm.initial_state(phi["algorithm"], phi["theta"])
    prediction = learner.algorithm.predict(learner.model, phi["algorithm"], state, task.support, task.query.x)
    z, queries = learner.model.outputs(phi["theta"], {}, task.support, task.query.x)
    if method[0] == "r2d2":
        z, queries = (torch.cat((part, torch.ones_like(part[:, :1])), 1) for part in (z, queries))
    penalty = phi["algorithm"]["log_penalty"].exp() if method[0] == "r2d2" else 0.001
    precision = z.T @ z + len(z) * penalty * torch.eye(z.shape[1], dtype=z.dtype)
    variance = torch.exp(torch.tensor(-1.0)) * (1 + torch.einsum("qf,fg,qg->q", queries, precision.inverse(), queries))
    torch.testing.assert_close(kind.distribution(prediction)["std"][:, 0], variance.sqrt(), rtol=1e-6, atol=1e-8)
