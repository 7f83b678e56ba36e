"""A problem comes back from builtin types as it was."""

import json
from dataclasses import dataclass

import pytest

from metarun.core.errors import UserError
from metarun.core.inputs import InputSpec
from metarun.core.kinds import Classification, Gaussian, Regression, TaskKind
from metarun.datasets.base import Problem
from metarun.runs.saved_problem import from_plain, to_plain

PROBLEMS = [
    Problem(
        "glyphs",
        InputSpec.of((1, 28, 28)),
        Classification(5),
        Classification(20),
        0,
        0,
        870,
        {"split": "by script", "classes": [1]},
    ),
    Problem("table", InputSpec.of((7,)), Regression(2), Regression(2), 12, 3, 0),
    Problem("sine", InputSpec.of((1,)), Gaussian(1), Gaussian(1), 0, 0, 0),
    Problem("mine", InputSpec.of((2, 3)), Classification(4, metric="f1"), Classification(4), 0, 0, 0),
]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_write_and_read_round_trip(problem: Problem) -> None:
    plain = to_plain(problem)
    assert from_plain(json.loads(json.dumps(plain))) == problem
    assert from_plain(plain) == problem


def test_a_kind_of_the_users_is_refused() -> None:
    @dataclass(frozen=True)
    class Softer(Classification):
        pass

    kind: TaskKind = Softer(5)
    with pytest.raises(UserError, match="its tasks are of kind Softer, which no checkpoint can hold"):
        to_plain(Problem("mine", InputSpec.of((1,)), kind, kind, 0, 0, 0))
