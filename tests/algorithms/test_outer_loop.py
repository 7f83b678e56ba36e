"""Schedules of the outer step size."""

from dataclasses import replace

import pytest
from builders import algorithm

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
    plain: OuterLoop = algorithm("maml").outer  # type: ignore[attr-defined]
    outer = replace(plain, lr=0.8, schedule=schedule, halve_every=3)
    assert [outer.lr_at(step, 4) for step in range(4)] == pytest.approx(expected, rel=1e-12)
