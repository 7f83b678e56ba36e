"""Schedules of the outer step size."""

import pytest

from metarun.algorithms.outer_loop import OuterLoop


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.8, 0.8, 0.8, 0.8]),
        ("linear", [0.8, 0.6, 0.4, 0.2]),
        ("cosine", [0.8, 0.4 * (1 + 0.5**0.5), 0.4, 0.4 * (1 - 0.5**0.5)]),
        ("halving", [0.8, 0.8, 0.8, 0.4]),
    ],
)
def test_step_sizes(schedule: str, expected: list[float]) -> None:
    outer = OuterLoop(optimiser="sgd", lr=0.8, momentum=0.0, schedule=schedule, halve_every=3)
    assert [outer.lr_at(step, 4) for step in range(4)] == pytest.approx(expected, rel=1e-12)
