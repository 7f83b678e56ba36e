"""Known polynomials, one after another."""

from typing import Any

import pytest
import torch
from known_functions import polynomials

from metarun.core.errors import UserError
from metarun.datasets.base import STREAMS
from metarun.datasets.polynomials import written

TOY = [lambda x: x + 3, lambda x: 2 * x**2 - 1, lambda x: (x - 3) ** 3]
DOMAINS = [(-4, -2), (-1, 1), (2, 4)]


@pytest.mark.parametrize("stream", STREAMS)
def test_the_three_tasks_come_in_turn_in_every_stream(stream: str) -> None:
    data = polynomials(noise=0.0)
    batch = data.sample(stream, 2, 7)
    assert batch.identity.tolist() == [number % 3 for number in range(14, 21)]
    assert data.known_tasks == 3
    for row, identity in enumerate(batch.identity.tolist()):
        lowest, highest = DOMAINS[identity]
        for x, y in (batch.support, batch.query):
            torch.testing.assert_close(y[row], TOY[identity](x[row]))
            assert lowest <= float(x[row].min())
            assert float(x[row].max()) <= highest


@pytest.mark.parametrize("stream", STREAMS)
def test_a_group_is_a_task(stream: str) -> None:
    data = polynomials()
    assert data.groups == ("task 1: x + 3", "task 2: 2x^2 - 1", "task 3: x^3 - 9x^2 + 27x - 27")
    for group in range(3):
        assert data.sample(stream, 4, 5, group).identity.tolist() == [group] * 5


def test_points_fill_the_domain_and_are_new_at_every_visit() -> None:
    x = polynomials().sample("train", 0, 300, 2)
    x = torch.cat([x.support.x, x.query.x], 1)
    assert len(x.unique()) == 300 * 82
    assert float(x.min()) == pytest.approx(2, abs=0.01)
    assert float(x.max()) == pytest.approx(4, abs=0.01)
    assert float(x.mean()) == pytest.approx(3, abs=0.01)


def test_test_queries_are_evenly_spaced() -> None:
    batch = polynomials().sample("test", 0, 6)
    for row, (lowest, highest) in enumerate(DOMAINS * 2):
        expected = torch.linspace(lowest, highest, 50, dtype=torch.float64)
        torch.testing.assert_close(batch.query.x[row, :, 0], expected)
    # Validation picks the best state, so it must not see the very points of the test.
    val = polynomials().sample("val", 0, 6)
    assert not set(val.query.x.flatten().tolist()) & set(batch.query.x.flatten().tolist())


def test_noise_is_only_on_training_points() -> None:
    for stream in STREAMS:
        clean, noisy = (polynomials(noise=noise).sample(stream, 0, 300) for noise in (0.0, 0.05))
        assert float((noisy.support.y - clean.support.y).std()) == pytest.approx(0.05, rel=0.05)
        if stream == "train":
            assert float((noisy.query.y - clean.query.y).std()) == pytest.approx(0.05, rel=0.05)
        else:
            assert torch.equal(noisy.query.y, clean.query.y)


def test_descriptor_holds_the_coefficients() -> None:
    batch = polynomials().sample("val", 0, 3)
    expected = [[0, 0, 1 / 27, 3 / 27], [0, 2 / 9, 0, -1 / 27], [1, -1, 1, -1]]
    torch.testing.assert_close(batch.descriptor, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(
    ("coefficients", "text"),
    [
        ([1.0, 3.0], "x + 3"),
        ([-1.0, 0.0, 0.5], "-x^2 + 0.5"),
        ([2.5, -1.0, 0.0], "2.5x^2 - x"),
        ([0.0, 1.0], "1"),
        ([-1.0], "-1"),
        ([0.0, 0.0], "0"),
    ],
)
def test_how_a_polynomial_is_written(coefficients: list[float], text: str) -> None:
    assert written(coefficients) == text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"polynomials": []},
            r"dataset\.polynomials=\[\]: give one or more lists of coefficients, highest power first",
        ),
        ({"polynomials": [[1.0], []]}, r"dataset\.polynomials=\[\[1\.0\],\[\]\]: give one or more lists"),
        ({"domains": [[0.0, 1.0]]}, r"dataset\.domains=\[\[0\.0,1\.0\]\]: 1 for 3 dataset\.polynomials; give one"),
        ({"domains": [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]}, r"dataset\.domains=\[1\.0,0\.0\]: give two numbers"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        polynomials(**changes)
    assert "\n" not in str(refusal.value)


def test_summary_and_protocol() -> None:
    data = polynomials()
    assert data.summary() == (
        "polynomials · 32-shot · 50 queries      x + 3 on -4 to -2; 2x^2 - 1 on -1 to 1; "
        "x^3 - 9x^2 + 27x - 27 on 2 to 4, noise 0.05, 3 known tasks"
    )
    assert data.protocol() == {
        **{"dataset": "polynomials", "shots": 32, "queries": 50, "noise": 0.05, "known_tasks": 3},
        **{"polynomials": [[1, 3], [2, 0, -1], [1, -9, 27, -27]], "domains": [[-4, -2], [-1, 1], [2, 4]]},
        "split": "same tasks, points of their own",
    }
    assert data.facts("test", data.sample("test", 0, 2)) == {
        "polynomial": ["x + 3", "2x^2 - 1"],
        "domain": ["-4 to -2", "-1 to 1"],
    }
