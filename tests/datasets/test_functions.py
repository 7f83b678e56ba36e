"""What all datasets of functions promise: pure, fresh points, streams apart, known tasks that come again."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from metarun.core.counters import key, keys
from metarun.core.tasks import Task
from metarun.datasets.base import STREAMS
from metarun.datasets.functions import Functions, between, normal, scaled
from metarun.datasets.harmonics import HarmonicsConfig
from metarun.datasets.polynomials import PolynomialsConfig
from metarun.datasets.regression_families import RegressionFamiliesConfig
from metarun.datasets.sinusoid import SinusoidConfig

TURN = {"amplitude": [0.1, 5.0], "phase": [0.0, math.pi], "x": [-5.0, 5.0]}
SIDE = [-3.0, 3.0]
CONFIGS: dict[str, Callable[..., Any]] = {
    "sinusoid": lambda **keys: SinusoidConfig(**TURN, **keys),
    "harmonics": lambda **keys: HarmonicsConfig(
        frequency=[5.0, 7.0], amplitude=1.0, center=[-4.0, 4.0], spread=1.0, **keys
    ),
    "regression_families": lambda **keys: RegressionFamiliesConfig(
        families=["sine", "line", "quadratic", "absolute", "tanh"],
        **{**TURN, "slope": SIDE, "intercept": SIDE, "curvature": [0.02, 0.15], "center": SIDE, "offset": SIDE},
        **keys,
    ),
}
POLYNOMIALS = {"polynomials": [[1.0, 3.0], [2.0, 0.0, -1.0]], "domains": [[-4.0, -2.0], [-1.0, 1.0]]}


def load(name: str, seed: int = 0, dtype: torch.dtype = torch.float64, **changes: Any) -> Functions:
    sizes = {"shots": 4, "queries": 3, "noise": 0.5}
    if name == "polynomials":
        changes.pop("tasks", None)
        config: Any = PolynomialsConfig(**{**sizes, **POLYNOMIALS, **changes})
    else:
        config = CONFIGS[name](**{**sizes, "tasks": None, **changes})
    return config.load(seed, torch.device("cpu"), dtype)


def flat(task: Task) -> list[torch.Tensor]:
    return [*task.support, *task.query, task.number, task.identity, task.descriptor]


every = pytest.mark.parametrize("name", [*CONFIGS, "polynomials"])
drawn = pytest.mark.parametrize("name", CONFIGS)


@every
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("tasks", [None, 11])
def test_a_task_depends_on_seed_stream_group_and_number_alone(name: str, stream: str, tasks: int | None) -> None:
    for group in (None, *range(len(load(name).groups))):
        six = load(name, tasks=tasks).sample(stream, 2, 6, group)
        other = load(name, tasks=tasks)
        other.sample("train", 5, 3)
        assert six.number.tolist() == list(range(12, 18))
        for row in range(6):
            one = other.sample(stream, 12 + row, 1, group)
            assert all(torch.equal(many[row], single[0]) for many, single in zip(flat(six), flat(one), strict=True))


@every
def test_shapes_and_precision(name: str) -> None:
    data = load(name, dtype=torch.float32)
    batch = data.sample("val", 0, 5)
    assert batch.support.x.shape == batch.support.y.shape == (5, 4, 1)
    assert batch.query.x.shape == batch.query.y.shape == (5, 3, 1)
    assert batch.descriptor.shape == (5, data.descriptor_size)
    assert {part.dtype for part in (*batch.support, *batch.query, batch.descriptor)} == {torch.float32}
    assert batch.identity.shape == (5,)
    assert batch.identity.dtype == torch.int64
    assert data.grouped_test


@drawn
def test_streams_and_seeds_share_no_random_numbers(name: str) -> None:
    truths = [load(name).truth(stream, torch.arange(50))[0] for stream in STREAMS]
    truths.append(load(name, seed=1).truth("train", torch.arange(50))[0])
    assert len(torch.cat(truths).abs().unique()) == 50 * len(truths)


@every
def test_points_are_fresh_in_every_stream(name: str) -> None:
    x = torch.cat([load(name).sample(stream, 0, 50).support.x.flatten() for stream in STREAMS])
    assert len(x.unique()) == len(x) == 4 * 50 * 4


@every
@pytest.mark.parametrize("tasks", [None, 11])
def test_there_is_no_end_of_tasks(name: str, tasks: int | None) -> None:
    """Those of known functions differ by their points."""
    data = load(name, tasks=tasks)
    groups = (None, *range(len(data.groups)))
    assert {data.distinct(stream, group) for stream in STREAMS for group in groups} == {None}


@drawn
def test_noise_has_the_standard_deviation_asked_for(name: str) -> None:
    clean, noisy = (load(name, noise=noise).sample("test", 0, 2000) for noise in (0.0, 0.5))
    for exact, blurred in ((clean.support, noisy.support), (clean.query, noisy.query)):
        assert torch.equal(exact.x, blurred.x)
        assert float((blurred.y - exact.y).std()) == pytest.approx(0.5, rel=0.03)
        assert float((blurred.y - exact.y).mean()) == pytest.approx(0, abs=0.02)


@drawn
def test_known_tasks_come_again_with_new_points(name: str) -> None:
    data = load(name, tasks=6, noise=0.0)
    assert data.known_tasks == 6
    train, again = data.sample("train", 0, 300), data.sample("train_eval", 0, 300)
    assert set(train.identity.tolist()) == set(again.identity.tolist()) == set(range(6))
    first: dict[int, torch.Tensor] = {}
    for batch in (train, again):
        for identity, descriptor in zip(batch.identity.tolist(), batch.descriptor, strict=True):
            assert torch.equal(first.setdefault(identity, descriptor), descriptor)
    assert len(torch.stack(list(first.values())).unique(dim=0)) == 6
    x = torch.cat([part.x.flatten() for batch in (train, again) for part in (batch.support, batch.query)])
    assert len(x.unique()) == 2 * 300 * 7
    counts = torch.bincount(data.sample("train", 0, 6000).identity, minlength=6)
    assert float((counts / 1000 - 1).abs().max()) < 0.1


@drawn
def test_new_tasks_are_not_known_tasks(name: str) -> None:
    data = load(name, tasks=6)
    known = data.sample("train", 0, 100).descriptor.unique(dim=0)
    for stream in ("val", "test"):
        batch = data.sample(stream, 0, 100)
        assert set(batch.identity.tolist()) == {-1}
        assert len(batch.descriptor.unique(dim=0)) == 100
        assert len(torch.cat([known, batch.descriptor]).unique(dim=0)) == 106
        # Which tasks are known does not move those that are not.
        assert torch.equal(batch.support.y, load(name).sample(stream, 0, 100).support.y)
    assert set(load(name).sample("train", 0, 100).identity.tolist()) == {-1}


@every
def test_an_unknown_stream_or_group_is_refused(name: str) -> None:
    data = load(name)
    with pytest.raises(ValueError, match="no stream 'meta-test'"):
        data.sample("meta-test", 0, 1)
    for group in (-1, len(data.groups)):
        with pytest.raises(ValueError, match=f"no group {group}; {name} has {len(data.groups)}"):
            data.sample("train", 0, 1, group)


def test_normal_numbers() -> None:
    x = normal(keys(key(0, "normal"), torch.arange(2000)), 50)
    assert x.shape == (2000, 50)
    assert float(x.mean()) == pytest.approx(0, abs=0.01)
    assert float(x.std()) == pytest.approx(1, rel=0.01)
    assert float((x.abs() < 1).double().mean()) == pytest.approx(0.6827, abs=0.004)
    assert float((x**4).mean()) == pytest.approx(3, rel=0.03)


def test_scaling_undoes_between() -> None:
    fraction = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    lowest, highest = torch.tensor(-2.0, dtype=torch.float64), torch.tensor(6.0, dtype=torch.float64)
    values = between(fraction, -2.0, 6.0)
    assert values.tolist() == [-2, 0, 6]
    assert scaled(values, lowest, highest).tolist() == [-1, -0.5, 1]
    assert scaled(values, lowest, lowest).tolist() == [0, 0, 0]


@every
def test_values_equal_samples_without_noise(name: str) -> None:
    dataset = load(name, noise=0.0)
    for group in (None, *range(len(dataset.groups))):
        tasks = dataset.sample("train", 1, 4, group)
        x, y = (torch.cat((tasks.support[part], tasks.query[part]), 1).squeeze(-1) for part in (0, 1))
        torch.testing.assert_close(dataset.values("train", tasks.number, x, group), y, rtol=1e-12, atol=1e-12)
