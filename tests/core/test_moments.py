"""Centered sums of squares against NumPy in float64, where sums of squares cancel."""

import numpy as np
import pytest
import torch
from torch import Tensor

from metarun.core.kinds import Regression
from metarun.core.moments import Moments, merged, moments

PLACES = [(1e4, 1e-1), (1e6, 1.0), (-3e3, 1e-2), (1e8, 1.0), (0.0, 1.0), (0.0, 1e-6)]
"""Mean and spread of the numbers. Those of 1e8 are float64, since float32 cannot tell them apart."""


def numbers(mean: float, spread: float, *shape: int) -> Tensor:
    values = mean + spread * torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return values if mean == 1e8 else values.float()


def stacked(parts: list[Moments]) -> Moments:
    return Moments(*(torch.stack(of) for of in zip(*parts, strict=True)))


@pytest.mark.parametrize(("mean", "spread"), PLACES)
@pytest.mark.parametrize("sizes", [[60], [20, 40], [1, 1, 3, 55], [10] * 6])
def test_parts_merge_to_the_moments_of_the_whole(mean: float, spread: float, sizes: list[int]) -> None:
    values = numbers(mean, spread, 60, 2)
    parts = [moments(part, torch.ones(len(part))) for part in values.split(sizes)]
    found, exact = merged(stacked(parts)), values.double().numpy()
    assert found.rows.tolist() == [60, 60]
    np.testing.assert_allclose(found.mean, exact.mean(0), rtol=1e-14, atol=1e-15)
    condition = abs(mean) / spread  # of the variance, to rounding of the mean
    np.testing.assert_allclose(found.squares, 60 * exact.var(0), rtol=1e-13 + 4 * condition * np.finfo(float).eps)
    assert not found.constant.any()


def test_rows_of_no_weight_do_not_count() -> None:
    values = torch.tensor([[1.0], [3.0], [1e30]])
    found = moments(values, torch.tensor([1.0, 1.0, 0.0]))
    assert [float(part) for part in found] == [2, 2, 2]


def test_equal_numbers_are_constant_despite_rounding() -> None:
    for value in (0.0, 0.1, 1e4 + 0.1, -1e300):
        parts = [moments(torch.full((n, 1), value, dtype=torch.float64), torch.ones(n)) for n in (7, 11, 1000)]
        assert merged(stacked(parts)).constant.all(), value


@pytest.mark.parametrize(("mean", "spread"), PLACES)
@pytest.mark.parametrize("padded", [False, True])
def test_explained_variance_is_right_wherever_the_targets_are(mean: float, spread: float, padded: bool) -> None:
    """Of 30 tasks of 12 queries of two dimensions, some of the queries being padding."""
    y = numbers(mean, spread, 30, 12, 2)
    prediction = y + 0.5 * spread * torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    mask = torch.ones(30, 12)
    if padded:
        mask = (torch.rand(30, 12, generator=torch.Generator().manual_seed(2)) > 0.4).float()
        mask[:, 0] = 1
        y = torch.where(mask[..., None] > 0, y, 0)
    kind = Regression(2)
    each = [kind.totals(prediction[task], y[task], mask[task] if padded else None) for task in range(30)]
    found = kind.pooled({name: torch.stack([totals[name] for totals in each]) for name in each[0]})
    truth, guess = y[mask > 0].double().numpy(), prediction[mask > 0].double().numpy()
    wanted = 1 - np.square(truth - guess).sum() / np.square(truth - truth.mean(0)).sum()
    assert 0.7 < wanted < 0.8
    assert found["explained_variance"] == pytest.approx(wanted, abs=1e-9)


def test_explained_variance_is_scikit_learns_r2() -> None:
    from sklearn.metrics import r2_score

    kind, y = Regression(3), numbers(0.0, 1.0, 40, 3) * torch.tensor([1.0, 10.0, 0.1]) + torch.tensor([5.0, 0.0, -2.0])
    prediction = y + 0.3 * numbers(0.0, 1.0, 40, 3).flip(0)
    found = kind.pooled({name: value[None] for name, value in kind.totals(prediction, y).items()})
    wanted = r2_score(y.double(), prediction.double(), multioutput="variance_weighted")
    assert found["explained_variance"] == pytest.approx(wanted, abs=1e-12)


def test_constant_targets_have_no_explained_variance() -> None:
    kind, y = Regression(), torch.full((9, 1), 1e4 + 0.1, dtype=torch.float64)
    assert kind.pooled({name: value[None] for name, value in kind.totals(y + 1, y).items()}) == {}
