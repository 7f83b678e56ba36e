"""Functions of several families."""

import math
from typing import Any

import pytest
import torch

from metarun.core.errors import UserError
from metarun.datasets.base import STREAMS
from metarun.datasets.regression_families import FAMILIES, RegressionFamilies, RegressionFamiliesConfig

FIVE = ["sine", "line", "quadratic", "absolute", "tanh"]
RANGES = {
    "sine": ((0.1, 5), (0, math.pi), (0, 0)),
    "line": ((-3, 3), (-3, 3), (0, 0)),
    "quadratic": ((-0.15, 0.15), (-3, 3), (-3, 3)),
    "absolute": ((-3, 3), (-3, 3), (-3, 3)),
    "tanh": ((-3, 3), (-3, 3), (-3, 3)),
}


def families(*names: str, seed: int = 0, **changes: Any) -> RegressionFamilies:
    side = [-3.0, 3.0]
    settings = {
        **{"shots": 10, "queries": 5, "tasks": None, "families": list(names) or FIVE, "noise": 0.0},
        **{"amplitude": [0.1, 5.0], "phase": [0.0, math.pi], "slope": side, "intercept": side},
        **{"curvature": [0.02, 0.15], "center": side, "offset": side, "x": [-5.0, 5.0]},
    }
    return RegressionFamiliesConfig(**{**settings, **changes}).load(seed, torch.device("cpu"), torch.float64)


def exact(name: str, a: float, b: float, c: float, x: float) -> float:
    return {
        "sine": a * math.sin(x - b),
        "line": a * x + b,
        "quadratic": a * (x - b) ** 2 + c,
        "absolute": a * abs(x - b) + c,
        "tanh": a * math.tanh(x - b) + c,
    }[name]


def test_points_lie_on_functions_of_their_family() -> None:
    data = families()
    batch = data.sample("test", 1, 60)
    parameters = torch.stack(data.truth("test", batch.number), -1).tolist()
    names = data.facts("test", batch)["family"]
    assert set(names) == set(FIVE)
    for row, name in enumerate(names):
        for x, y in (batch.support, batch.query):
            expected = [exact(name, *parameters[row], value) for value in x[row, :, 0].tolist()]
            torch.testing.assert_close(y[row, :, 0], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("name", FIVE)
def test_ranges_are_those_of_the_authors(name: str) -> None:
    data = families()
    group = FIVE.index(name)
    truth = data.truth("train", torch.arange(4000), group)
    descriptor = data.sample("train", 0, 4000, group).descriptor[:, 5:]
    for place, (values, (lowest, highest)) in enumerate(zip(truth, RANGES[name], strict=True)):
        if lowest == highest:
            assert set(values.tolist()) == {lowest}
            assert set(descriptor[:, place].tolist()) == {0}
            continue
        assert lowest <= float(values.min()) < lowest + 0.01 * (highest - lowest)
        assert highest - 0.01 * (highest - lowest) < float(values.max()) <= highest
        assert float(values.mean()) == pytest.approx((lowest + highest) / 2, abs=0.02 * (highest - lowest))
        torch.testing.assert_close(descriptor[:, place], 2 * (values - lowest) / (highest - lowest) - 1)
    x = data.sample("train", 0, 1000, group).support.x
    assert -5 <= float(x.min()) < -4.9 < 4.9 < float(x.max()) <= 5


def test_a_quadratic_opens_upwards_or_downwards_and_is_never_flat() -> None:
    curvature = families().truth("train", torch.arange(4000), 2)[0]
    assert float(curvature.abs().min()) >= 0.02
    assert float((curvature > 0).double().mean()) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("stream", STREAMS)
def test_families_are_equally_likely(stream: str) -> None:
    counts = families().sample(stream, 0, 10_000).descriptor[:, :5].sum(0)
    assert float((counts / 2000 - 1).abs().max()) < 0.07
    known = families(tasks=50).sample(stream, 0, 10_000).descriptor[:, :5].sum(0)
    assert float((known / 2000 - 1).abs().max()) < 0.07


@pytest.mark.parametrize("tasks", [None, 12])
@pytest.mark.parametrize("stream", STREAMS)
def test_a_group_is_a_family(stream: str, tasks: int | None) -> None:
    data = families("tanh", "line", "sine", tasks=tasks)
    assert data.groups == ("tanh", "line", "sine")
    for group, name in enumerate(data.groups):
        batch = data.sample(stream, 3, 40, group)
        assert set(data.facts(stream, batch)["family"]) == {name}
        assert batch.descriptor[:, :3].tolist() == [[float(place == group) for place in range(3)]] * 40
        known = set(batch.identity.tolist())
        assert known == ({-1} if tasks is None or stream in ("val", "test") else set(range(group, 12, 3)))


def test_the_task_of_a_number_is_the_same_whether_or_not_its_family_was_asked_for() -> None:
    data = families()
    mixed = data.sample("val", 0, 50)
    for row, family in enumerate(mixed.descriptor[:, :5].argmax(1).tolist()):
        assert torch.equal(data.sample("val", row, 1, family).query.y[0], mixed.query.y[row])


def test_facts_follow_from_the_tasks_alone() -> None:
    data = families(tasks=10)
    for stream, group in (("train", None), ("train", 2), ("test", 3), ("val", None)):
        batch = data.sample(stream, 0, 8, group)
        parameters = torch.stack(data.truth(stream, batch.number, group), -1).tolist()
        facts = data.facts(stream, batch)
        formulas = [
            RegressionFamilies._formula(FAMILIES[name], own)
            for name, own in zip(facts["family"], parameters, strict=True)
        ]
        assert facts["function"] == formulas


def test_how_a_function_is_written() -> None:
    told = [
        ("sine", [1.5, 0.25, 0], "1.5 sin(x - 0.25)"),
        ("line", [-2.0, -0.5, 0], "-2 x - 0.5"),
        ("quadratic", [0.1, -1.234, 2.0], "0.1 (x + 1.23)^2 + 2"),
        ("absolute", [3.0, 1.0, -1.0], "3 abs(x - 1) - 1"),
        ("tanh", [-0.5, 0.0, 0.0], "-0.5 tanh(x + 0) + 0"),
    ]
    for name, values, text in told:
        assert RegressionFamilies._formula(FAMILIES[name], values) == text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"families": ["sine", "lines"]},
            r"=\[sine,lines\]: no family 'lines'; did you mean 'line'\? \(families: sine, l",
        ),
        ({"families": ["sine", "line", "sine"]}, r"=\[sine,line,sine\]: 'sine' is given twice; name each family once"),
        ({"families": []}, r"dataset\.families=\[\]: name at least one of sine, line, quadratic, absolute, tanh"),
        ({"tasks": 4}, r"dataset\.tasks=4: give at least 5, one for each of dataset\.families"),
        ({"curvature": [1.0]}, r"dataset\.curvature=\[1\.0\]: give two numbers, lowest and highest"),
        ({"x": [5.0, -5.0]}, r"dataset\.x=\[5\.0,-5\.0\]: give two numbers, lowest and highest"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        families(**changes)
    assert "\n" not in str(refusal.value)


def test_summary_and_protocol() -> None:
    data = families("sine", "line", noise=0.3)
    assert data.summary() == ("regression_families · 10-shot · 5 queries      sine, line, x -5 to 5, noise 0.3")
    assert data.protocol() == {
        **{"dataset": "regression_families", "families": ["sine", "line"], "shots": 10, "queries": 5, "noise": 0.3},
        **{"amplitude": [0.1, 5.0], "phase": [0.0, math.pi], "slope": [-3.0, 3.0], "intercept": [-3.0, 3.0]},
        **{"x": [-5.0, 5.0], "known_tasks": 0, "split": "separate seeds"},
    }
    assert data.descriptor_size == 5
