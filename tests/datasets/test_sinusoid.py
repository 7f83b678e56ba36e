"""Sine waves."""

import math
from typing import Any

import pytest
import torch

from metarun.core.errors import UserError
from metarun.core.kinds import Regression
from metarun.datasets.base import STREAMS
from metarun.datasets.sinusoid import Sinusoid, SinusoidConfig


def waves(seed: int = 0, **changes: Any) -> Sinusoid:
    paper = {
        **{"shots": 10, "queries": 5, "amplitude": [0.1, 5.0], "phase": [0.0, math.pi]},
        **{"x": [-5.0, 5.0], "noise": 0.0, "tasks": None},
    }
    return SinusoidConfig(**{**paper, **changes}).load(seed, torch.device("cpu"), torch.float64)


def test_points_lie_on_the_wave() -> None:
    batch = waves().sample("train", 3, 8)
    amplitude, phase = waves().truth("train", batch.number)
    assert batch.number.tolist() == list(range(24, 32))
    assert batch.support.x.shape == batch.support.y.shape == (8, 10, 1)
    assert batch.query.x.shape == batch.query.y.shape == (8, 5, 1)
    for x, y in (batch.support, batch.query):
        torch.testing.assert_close(y, amplitude[:, None, None] * torch.sin(x - phase[:, None, None]))


def test_waves_of_a_seed_are_unchanged() -> None:
    # From the first release: results name a seed, and its tasks must not change under them.
    amplitude, phase = waves().truth("train", torch.arange(2))
    x = waves().sample("test", 0, 1).support.x[0, :2, 0]
    torch.testing.assert_close(amplitude, torch.tensor([3.145910469037251, 2.0318110666967764], dtype=torch.float64))
    torch.testing.assert_close(phase, torch.tensor([2.8721748937679052, 2.03644391610584], dtype=torch.float64))
    torch.testing.assert_close(x, torch.tensor([-1.939237591670111, -3.8988440911824194], dtype=torch.float64))


def test_descriptor_is_the_wave_scaled() -> None:
    batch = waves(phase=[1.5, 1.5]).sample("val", 0, 500)
    amplitude, _ = waves().truth("val", batch.number)
    torch.testing.assert_close(batch.descriptor[:, 0], (amplitude - 2.55) / 2.45)
    assert float(batch.descriptor[:, 0].abs().max()) <= 1
    assert torch.equal(batch.descriptor[:, 1], torch.zeros(500, dtype=torch.float64))  # a single phase says nothing


def test_facts_are_the_waves() -> None:
    data = waves(tasks=7)
    for stream in ("train", "test"):
        batch = data.sample(stream, 3, 4)
        amplitude, phase = data.truth(stream, batch.number)
        assert data.facts(stream, batch) == {
            "amplitude": [f"{value:.3g}" for value in amplitude.tolist()],
            "phase": [f"{value:.3g}" for value in phase.tolist()],
        }


def test_ranges_are_those_of_the_paper() -> None:
    amplitude, phase = waves().truth("test", torch.arange(5000))
    x = waves().sample("test", 0, 1000).support.x
    for drawn, (lowest, highest) in ((amplitude, (0.1, 5.0)), (phase, (0, math.pi)), (x, (-5, 5))):
        assert lowest <= float(drawn.min()) < lowest + 0.01 * (highest - lowest)
        assert highest - 0.01 * (highest - lowest) < float(drawn.max()) <= highest
        assert float(drawn.mean()) == pytest.approx((lowest + highest) / 2, abs=0.02 * (highest - lowest))


def test_a_task_depends_on_seed_stream_and_number_alone() -> None:
    six = waves(noise=0.5).sample("val", 2, 6)
    for row in range(6):
        one = waves(noise=0.5).sample("val", 12 + row, 1)
        assert torch.equal(six.support.y[row], one.support.y[0])
        assert torch.equal(six.query.x[row], one.query.x[0])


def test_streams_and_seeds_differ_and_points_are_fresh() -> None:
    truths = [waves().truth(stream, torch.arange(50))[0] for stream in STREAMS]
    truths.append(waves(seed=1).truth("train", torch.arange(50))[0])
    assert len(torch.cat(truths).unique()) == 50 * len(truths)
    batch = waves().sample("train", 0, 50)
    assert len(torch.cat([batch.support.x, batch.query.x], 1).unique()) == 50 * 15


def test_noise_has_the_standard_deviation_asked_for() -> None:
    clean, noisy = waves().sample("train", 0, 2000).support, waves(noise=0.5).sample("train", 0, 2000).support
    assert torch.equal(clean.x, noisy.x)
    assert float((noisy.y - clean.y).std()) == pytest.approx(0.5, rel=0.02)
    assert float((noisy.y - clean.y).mean()) == pytest.approx(0, abs=0.02)


def test_unknown_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="no stream 'meta-train'"):
        waves().sample("meta-train", 0, 1)


@pytest.mark.parametrize("bounds", [[1.0], [2.0, 1.0], [0.0, math.inf], [0.0, 1.0, 2.0]])
def test_invalid_range_is_refused(bounds: list[float]) -> None:
    with pytest.raises(UserError, match=r"dataset\.phase=.*: give two numbers, lowest and highest"):
        waves(phase=bounds)


def test_summary_and_protocol() -> None:
    assert waves().kind("train") == Regression()
    assert waves().inputs.shape == (1,)
    assert waves().summary() == (
        "sinusoid · 10-shot · 5 queries      amplitude 0.1 to 5, phase 0 to 3.14159, x -5 to 5, noise 0"
    )
    assert waves().protocol() == {
        **{"dataset": "sinusoid", "shots": 10, "queries": 5, "noise": 0.0},
        **{"amplitude": [0.1, 5.0], "phase": [0.0, math.pi], "x": [-5.0, 5.0]},
        **{"known_tasks": 0, "split": "separate seeds"},
    }
    assert waves(tasks=20).summary().endswith(", noise 0, 20 known tasks")
