"""The normal likelihood against `torch.distributions`, and what follows from it."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal
from torch.func import hessian, vmap

from metarun.core.kinds import KINDS, Classification, Gaussian, Regression, likelihoods, with_likelihood
from metarun.core.kinds.gaussian import BOUND, NOMINAL, QUANTILE
from metarun.core.names import LIKELIHOODS

KIND = Gaussian(2)


def drawn(rows: int = 7, spread: float = 1.5) -> tuple[Tensor, Tensor]:
    """Predictions and targets."""
    generator = torch.Generator().manual_seed(rows)
    prediction = torch.randn(rows, 4, generator=generator, dtype=torch.float64) * spread
    return prediction, torch.randn(rows, 2, generator=generator, dtype=torch.float64)


def normal(prediction: Tensor) -> Normal:
    mean, spread = prediction[:, :2], prediction[:, 2:]
    return Normal(mean, (10 * torch.tanh(spread / 10) / 2).exp())


def test_the_loss_is_the_negative_log_likelihood() -> None:
    prediction, y = drawn()
    torch.testing.assert_close(KIND.loss(prediction, y), -normal(prediction).log_prob(y).mean())


def test_padding_is_ignored() -> None:
    prediction, y = drawn()
    mask = torch.tensor([1.0, 1, 1, 1, 0, 0, 0], dtype=torch.float64)
    whole, kept = KIND.metrics(prediction, y, mask), KIND.metrics(prediction[:4], y[:4])
    for name in kept:
        torch.testing.assert_close(whole[name], kept[name])
    assert KIND.pooled(
        {name: value[None] for name, value in KIND.totals(prediction, y, mask).items()}
    ) == pytest.approx(KIND.pooled({name: value[None] for name, value in KIND.totals(prediction[:4], y[:4]).items()}))


def test_coverage_is_that_of_the_central_interval() -> None:
    prediction, _ = drawn()
    at = normal(prediction)
    assert pytest.approx(Normal(0, 1).icdf(torch.tensor(0.5 + NOMINAL / 2, dtype=torch.float64))) == QUANTILE
    inside, outside = (at.mean + sign * (QUANTILE + off) * at.stddev for sign, off in ((1, -1e-9), (-1, 1e-9)))
    assert float(KIND.metrics(prediction, inside)["coverage"]) == 1
    assert float(KIND.metrics(prediction, outside)["coverage"]) == 0
    half = torch.cat((inside[:, :1], outside[:, 1:]), 1)
    assert float(KIND.metrics(prediction, half)["coverage"]) == 0.5


def test_coverage_of_samples_is_nominal() -> None:
    prediction = drawn()[0].repeat(20_000, 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        y = normal(prediction).sample()
    assert float(KIND.metrics(prediction, y)["coverage"]) == pytest.approx(NOMINAL, abs=2e-3)


def test_errors_are_those_of_the_mean() -> None:
    prediction, y = drawn()
    metrics, wanted = KIND.metrics(prediction, y), Regression(2).metrics(prediction[:, :2], y)
    for name, value in wanted.items():
        torch.testing.assert_close(metrics[name], value)
    torch.testing.assert_close(KIND.decision(prediction), prediction[:, :2])
    torch.testing.assert_close(KIND.distribution(prediction)["std"], normal(prediction).stddev)


@pytest.mark.parametrize("spread", [-1e9, -40.0, 40.0, 1e9])
def test_no_spread_makes_the_loss_or_its_slope_infinite(spread: float) -> None:
    prediction = torch.tensor([[0.0, 0.0, spread, spread]], requires_grad=True)
    loss = KIND.loss(prediction, torch.full((1, 2), 3.0))
    (slope,) = torch.autograd.grad(loss, prediction)
    assert loss.isfinite()
    assert slope.isfinite().all()


def test_a_prediction_is_made_of_its_moments() -> None:
    mean, log_variance = torch.randn(5, 2, dtype=torch.float64), torch.linspace(-9, 9, 10, dtype=torch.float64)
    made = KIND.joined(mean, log_variance.view(5, 2))
    torch.testing.assert_close(KIND.moments(made), (mean, log_variance.view(5, 2)))
    assert float(KIND.moments(KIND.joined(mean, torch.full((5, 2), 50.0)))[1].max()) < BOUND


def test_the_curvature_is_the_expected_hessian() -> None:
    """Over targets of the predicted distribution, by Gauss-Hermite quadrature."""
    prediction, y = drawn(2)
    nodes, weights = (torch.from_numpy(part) for part in hermite())
    at = normal(prediction)

    def curved(node: Tensor) -> Tensor:
        bent: Tensor = hessian(lambda out: KIND.loss(out, at.mean + node * at.stddev))(prediction)
        return bent.reshape(8, 8)

    wanted = (weights[:, None, None] * torch.stack([curved(node) for node in nodes])).sum(0)
    product = KIND.curvature(prediction, y)
    found = torch.stack([product(row.view(2, 4)).flatten() for row in torch.eye(8, dtype=torch.float64)])
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    assert torch.linalg.eigvalsh(found).min() > 0


def hermite() -> Any:
    """Nodes and weights of expectations over the standard normal distribution."""
    from numpy.polynomial.hermite_e import hermegauss

    nodes, weights = hermegauss(8)
    return nodes, weights / math.sqrt(2 * math.pi)


@pytest.mark.parametrize("kind", [Classification(3), Regression(2)])
def test_the_curvature_of_a_convex_loss_is_its_hessian(kind: Any) -> None:
    prediction = torch.randn(4, kind.outputs, dtype=torch.float64)
    y = torch.tensor([0, 2, 1, 1]) if kind.by_class else torch.randn(4, 2, dtype=torch.float64)
    mask = torch.tensor([1.0, 1, 1, 0], dtype=torch.float64)
    bent = hessian(lambda out: kind.loss(out, y, mask))(prediction).reshape(prediction.numel(), -1)
    vector = torch.randn_like(prediction)
    torch.testing.assert_close(kind.curvature(prediction, y, mask)(vector).flatten(), bent @ vector.flatten())


@pytest.mark.parametrize("kind", [Classification(3), Regression(2), KIND])
def test_the_information_is_the_expected_outer_product_of_slopes(kind: Any) -> None:
    """By the definition, for a prediction that is itself the parameter."""
    prediction = torch.randn(kind.outputs, dtype=torch.float64)
    statistics, weight = kind.information(prediction)
    slopes = torch.autograd.functional.jacobian(lambda out: kind.information(out)[0], prediction)
    found = torch.einsum("k,ki->i", weight, slopes.square())
    if kind.by_class:
        p = prediction.softmax(-1)
        wanted = p * (1 - p)
    elif kind is KIND:
        slope = 1 - torch.tanh(prediction[2:] / BOUND).square()
        wanted = torch.cat(((-statistics[2:]).exp(), slope.square() / 2))
    else:
        wanted = torch.ones(2, dtype=torch.float64)
    torch.testing.assert_close(found, wanted)


def test_under_vmap_equals_one_by_one() -> None:
    prediction, y = torch.randn(3, 5, 4, dtype=torch.float64), torch.randn(3, 5, 2, dtype=torch.float64)
    together = vmap(KIND.metrics)(prediction, y)
    for task in range(3):
        for name, value in KIND.metrics(prediction[task], y[task]).items():
            torch.testing.assert_close(together[name][task], value)


def test_means_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="must be alike"):
        KIND.loss(torch.zeros(3, 4), torch.zeros(3, 1))


def test_every_kind_is_known_by_its_name_and_likelihood() -> None:
    assert list(KINDS) == ["classification", "regression", "gaussian"]
    assert tuple(kind.likelihood for kind in KINDS.values()) == LIKELIHOODS
    assert with_likelihood(Regression(3), "gaussian") == Gaussian(3)
    assert with_likelihood(Regression(3), "squared") == Regression(3)
    assert with_likelihood(Classification(3), "categorical") == Classification(3)


def test_labels_keep_their_kind_for_impossible_likelihoods() -> None:
    """What is composed so is refused (`metarun.setup.assemble`)."""
    assert with_likelihood(Classification(3), "gaussian") == Classification(3)
    assert with_likelihood(Regression(), "categorical") == Regression()
    assert likelihoods(Classification(3)) == ["categorical"]
    assert likelihoods(Regression()) == ["squared", "gaussian"]
