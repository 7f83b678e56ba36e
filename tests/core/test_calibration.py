"""Expected calibration error against a plain computation with NumPy's histogram of bins."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import vmap

from metarun.core.kinds import Classification


def by_numpy(probabilities: NDArray[np.float64], y: NDArray[np.int64], bins: int = 15) -> float:
    """Written from Guo et al. 2017, equation 3, prediction by prediction."""
    confidence, guess = probabilities.max(1), probabilities.argmax(1)
    which = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    error = 0.0
    for number in range(bins):
        inside = which == number
        if inside.any():
            accuracy = (guess[inside] == y[inside]).mean()
            error += inside.mean() * abs(accuracy - confidence[inside].mean())
    return error


def predictions(tasks: int, queries: int, ways: int, scale: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(ways, (tasks, queries), generator=generator)
    logits = scale * torch.randn(tasks, queries, ways, generator=generator)
    return logits + torch.nn.functional.one_hot(y, ways), y


def pooled(kind: Classification, logits: Tensor, y: Tensor, mask: Tensor | None = None) -> float:
    dims = (0, 0, None if mask is None else 0)
    return kind.pooled(vmap(kind.totals, in_dims=dims)(logits, y, mask))["ece"]


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("ways", [2, 5, 20])
def test_pooled_metric_is_over_all_queries(scale: float, padded: bool, ways: int) -> None:
    logits, y = predictions(30, 10, ways, scale)
    mask = None
    kept = torch.ones(30, 10, dtype=torch.bool)
    if padded:
        kept = torch.rand(30, 10, generator=torch.Generator().manual_seed(1)) > 0.3
        mask = kept.float()
    exact = logits[kept].double()
    wanted = by_numpy(exact.softmax(-1).numpy(), y[kept].numpy())
    assert pooled(Classification(ways), logits, y, mask) == pytest.approx(wanted, abs=1e-12)
    assert pooled(Classification(ways), logits.double().log_softmax(-1), y, mask) == pytest.approx(wanted, abs=1e-12)


def test_sums_of_chunks_merge_in_any_division() -> None:
    logits, y = predictions(12, 7, 4, 1.0)
    kind, whole = Classification(4), pooled(Classification(4), *predictions(12, 7, 4, 1.0))
    for sizes in ([12], [5, 7], [1] * 12):
        parts = [vmap(kind.totals)(*part) for part in zip(logits.split(sizes), y.split(sizes), strict=True)]
        joined = {"calibration": torch.cat([part["calibration"] for part in parts])}
        assert kind.pooled(joined)["ece"] == pytest.approx(whole, abs=1e-14)
    as_one = pooled(kind, logits.reshape(1, 84, 4), y.reshape(1, 84))
    assert as_one == pytest.approx(whole, abs=1e-14)


def test_known_cases() -> None:
    kind, y = Classification(2), torch.tensor([[0, 0, 0, 0]])
    sure = torch.tensor([[[100.0, 0.0]] * 4])
    assert pooled(kind, sure, y) == pytest.approx(0, abs=1e-12)
    assert pooled(kind, -sure, y) == pytest.approx(1)
    three_of_four = torch.tensor([[[0.75, 0.25]] * 3 + [[0.25, 0.75]]]).log()
    assert pooled(kind, three_of_four, y) == pytest.approx(0, abs=1e-7)
    evenly = torch.zeros(1, 4, 5), torch.tensor([[0, 1, 2, 3]])  # a confidence of 3/15, where two bins meet
    assert pooled(Classification(5), *evenly) == pytest.approx(0.05)
    assert Classification(5).totals(*(part[0] for part in evenly))["calibration"][2].tolist() == [4, 1, 0.8]
    assert np.isnan(pooled(kind, torch.full((1, 4, 2), torch.nan), y))
