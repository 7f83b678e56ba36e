"""Losses and metrics of the kinds of task, against figures worked out by hand."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as some
from sklearn.metrics import accuracy_score, precision_recall_fscore_support
from torch import Tensor
from torch.func import grad, vmap

from metarun.core.kinds import Classification, Gaussian, Regression, TaskKind

MACRO = ("precision", "recall", "f1")


def logits(*guesses: int) -> torch.Tensor:
    return 10.0 * torch.nn.functional.one_hot(torch.tensor(guesses), 3).double()


def test_classification_metrics_by_hand() -> None:
    kind = Classification(3)
    metrics = kind.metrics(logits(0, 0, 1, 1, 2, 0), torch.tensor([0, 0, 0, 1, 2, 2]))
    assert float(metrics["accuracy"]) == pytest.approx(4 / 6)
    assert float(metrics["precision"]) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert float(metrics["recall"]) == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)
    assert float(metrics["f1"]) == pytest.approx((2 / 3 + 2 / 3 + 2 / 3) / 3)
    assert float(metrics["loss"]) == pytest.approx(
        (2 * (10 + math.log1p(2 * math.exp(-10))) + 4 * math.log1p(2 * math.exp(-10))) / 6
    )


def test_absent_class_is_excluded_from_the_average() -> None:
    metrics = Classification(3).metrics(logits(0, 0, 1), torch.tensor([0, 0, 1]))
    assert {name: float(metrics[name]) for name in MACRO} == dict.fromkeys(MACRO, 1.0)


def test_class_that_is_only_predicted_counts_zero() -> None:
    metrics = Classification(3).metrics(logits(0, 1), torch.tensor([0, 0]))
    assert {name: float(metrics[name]) for name in MACRO} == pytest.approx(
        {"precision": 1 / 2, "recall": 1 / 4, "f1": 1 / 3}
    )


@given(
    some.integers(2, 6).flatmap(
        lambda ways: some.tuples(
            some.just(ways),
            some.lists(
                some.tuples(some.integers(0, ways - 1), some.integers(0, ways - 1), some.booleans()),
                min_size=1,
                max_size=12,
            ).filter(lambda rows: any(mask for *_, mask in rows)),
        )
    )
)
@limits(deadline=None, max_examples=200)
def test_macro_averages_are_those_of_scikit_learn(episode: tuple[int, list[tuple[int, int, bool]]]) -> None:
    """Of random labels, predictions and padding."""
    ways, rows = episode
    label, guess, mask = map(torch.tensor, zip(*rows, strict=True))
    prediction = torch.nn.functional.one_hot(guess, ways).double()
    kept = (label[mask].numpy(), guess[mask].numpy())
    wanted = precision_recall_fscore_support(*kept, average="macro", zero_division=0)[:3]
    padded = Classification(ways).metrics(prediction, label, mask.double())
    assert [float(padded[name]) for name in MACRO] == pytest.approx(wanted, abs=1e-12)
    assert float(padded["accuracy"]) == pytest.approx(accuracy_score(*kept))
    alone = Classification(ways).metrics(prediction[mask], label[mask])
    assert [float(alone[name]) for name in MACRO] == pytest.approx(wanted, abs=1e-12)


def test_classification_under_vmap_equals_one_by_one() -> None:
    kind = Classification(3)
    prediction, y = torch.randn(4, 6, 3, dtype=torch.float64), torch.randint(3, (4, 6))
    together = torch.func.vmap(kind.metrics)(prediction, y)
    for task in range(4):
        for name, value in kind.metrics(prediction[task], y[task]).items():
            torch.testing.assert_close(together[name][task], value)


def test_regression_metrics_by_hand() -> None:
    metrics = Regression().metrics(torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [5.0]]))
    assert float(metrics["mse"]) == 2.5
    assert float(metrics["mae"]) == 1.5


@pytest.mark.parametrize(
    ("kind", "y"),
    [(Classification(3), [0, 2, 1]), (Regression(), [[0.0], [2.0], [5.0]]), (Gaussian(), [[0.0], [2.0], [5.0]])],
)
def test_every_metric_has_the_right_direction(kind: TaskKind, y: list[Any]) -> None:
    """A perfect prediction is at least as good in each as a bad one."""
    truth = torch.tensor(y)
    good = kind.joined(10 * kind.encode_labels(truth, torch.float64), truth.double())
    truth = truth.double() * 10 if isinstance(kind, Regression) else truth

    def figures(prediction: Tensor) -> dict[str, float]:
        totals = {name: value[None] for name, value in kind.totals(prediction, truth).items()}
        return {name: float(v) for name, v in kind.metrics(prediction, truth).items()} | kind.pooled(totals)

    best, worse = figures(good), figures(-good)
    assert best.keys() == kind.directions.keys()
    for name, higher in kind.directions.items():
        assert higher is None or (best[name] > worse[name]) is higher
    assert kind.directions[kind.metric] is kind.higher_is_better


def test_labels_as_features() -> None:
    assert Classification(3).encode_labels(torch.tensor([2]), torch.float64).tolist() == [[0, 0, 1]]
    assert Regression().encode_labels(torch.tensor([[2.0]]), torch.float64).dtype == torch.float64


def test_classes_enter_an_encoder_within_a_gradient_within_a_batch() -> None:
    """As when an embedding is fitted to each task, or a learner's loss differentiated."""
    kind = Classification(3)
    y, weight = torch.tensor([[0, 2, 1], [1, 1, 1]]), torch.randn(3, dtype=torch.float64)

    def encoded(weight: Tensor, y: Tensor) -> Tensor:
        return (kind.encode_labels(y, weight.dtype) @ weight).sum()

    def measured(weight: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        metrics = kind.metrics(weight * kind.encode_labels(y, weight.dtype), y)
        return metrics["loss"], metrics

    assert vmap(grad(encoded), in_dims=(None, 0))(weight, y).tolist() == [[1, 1, 1], [0, 3, 0]]
    _, metrics = vmap(grad(measured, has_aux=True), in_dims=(None, 0))(weight.abs() + 1, y)
    assert metrics["accuracy"].tolist() == [1, 1]
    assert metrics["recall"].tolist() == [1, 1]
