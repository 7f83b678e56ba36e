"""Sums of two sine waves."""

import math
from typing import Any

import pytest
import torch

from metarun.core.errors import UserError
from metarun.datasets.harmonics import Harmonics, HarmonicsConfig


def harmonics(**changes: Any) -> Harmonics:
    settings = {
        **{"shots": 10, "queries": 5, "tasks": None, "frequency": [5.0, 7.0], "amplitude": 1.0},
        **{"center": [-4.0, 4.0], "spread": 1.0, "noise": 0.0},
    }
    return HarmonicsConfig(**{**settings, **changes}).load(0, torch.device("cpu"), torch.float64)


def test_points_lie_on_the_sum_of_two_waves() -> None:
    data = harmonics()
    batch = data.sample("val", 2, 20)
    truth = (value[:, None, None] for value in data.truth("val", batch.number))
    frequency, _, phase_1, phase_2, amplitude_1, amplitude_2 = truth
    for x, y in (batch.support, batch.query):
        first, second = torch.sin(frequency * x + phase_1), torch.sin(2 * frequency * x + phase_2)
        torch.testing.assert_close(y, amplitude_1 * first + amplitude_2 * second)


def test_distributions() -> None:
    data = harmonics()
    frequency, center, *phases, amplitude_1, amplitude_2 = data.truth("test", torch.arange(5000))
    ranges = [(frequency, 5, 7), (center, -4, 4), *((phase, 0, 2 * math.pi) for phase in phases)]
    for values, lowest, highest in ranges:
        assert lowest <= float(values.min()) < lowest + 0.01 * (highest - lowest)
        assert highest - 0.01 * (highest - lowest) < float(values.max()) <= highest
        assert float(values.mean()) == pytest.approx((lowest + highest) / 2, abs=0.02 * (highest - lowest))
    for values in (amplitude_1, amplitude_2):
        assert float(values.mean()) == pytest.approx(0, abs=0.05)
        assert float(values.std()) == pytest.approx(1, rel=0.03)
    # Independent, also in size: were normal numbers made of the uniform ones, only their squares would show it.
    columns = [frequency, center, *phases, amplitude_1, amplitude_2, amplitude_1**2, amplitude_2**2]
    assert float((torch.corrcoef(torch.stack(columns)) - torch.eye(8)).abs().max()) < 0.06
    batch = data.sample("test", 0, 5000)
    offset = batch.support.x[..., 0] - center[:, None]
    assert float(offset.mean()) == pytest.approx(0, abs=0.02)
    assert float(offset.std()) == pytest.approx(1, rel=0.02)
    assert float(batch.descriptor[:, :4].abs().max()) <= 1
    torch.testing.assert_close(batch.descriptor[:, 4], amplitude_1 / 2)


def test_widths_of_nothing() -> None:
    batch = harmonics(amplitude=0.0, spread=0.0).sample("train", 0, 4)
    assert torch.equal(batch.support.y, torch.zeros_like(batch.support.y))
    assert all(len(x.unique()) == 1 for x in batch.support.x)
    assert torch.isfinite(batch.descriptor).all()


@pytest.mark.parametrize("name", ["frequency", "center"])
def test_invalid_range_is_refused(name: str) -> None:
    message = rf"dataset\.{name}=\[2\.0,1\.0\]: give two numbers, lowest and highest"
    with pytest.raises(UserError, match=message):
        harmonics(**{name: [2.0, 1.0]})


def test_summary_and_protocol() -> None:
    data = harmonics(tasks=100)
    assert data.summary() == (
        "harmonics · 10-shot · 5 queries      "
        "frequency 5 to 7, center -4 to 4, amplitudes ~ N(0, 1²), x ~ N(center, 1²), noise 0, 100 known tasks"
    )
    assert data.protocol() == {
        **{"dataset": "harmonics", "shots": 10, "queries": 5, "noise": 0.0, "known_tasks": 100},
        **{"frequency": [5.0, 7.0], "center": [-4.0, 4.0], "amplitude": 1.0, "spread": 1.0, "split": "separate seeds"},
    }
    batch = data.sample("train", 0, 3)
    facts = data.facts("train", batch)
    assert list(facts) == ["frequency", "center", "phase 1", "phase 2", "amplitude 1", "amplitude 2"]
    frequency = data.truth("train", batch.number)[0]
    assert facts["frequency"] == [f"{value:.3g}" for value in frequency.tolist()]
