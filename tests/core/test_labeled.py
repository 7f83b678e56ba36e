"""A user's numbers are taken as they come, and refused with their name where they cannot be."""

from typing import Any

import numpy as np
import pytest
import torch
from builders import CPU

from metarun.core.arrays import floating
from metarun.core.errors import UserError
from metarun.core.inputs import InputSpec
from metarun.core.kinds import Classification, Regression
from metarun.core.labeled import examples
from metarun.core.tasks import Examples

NAMES = ("x", "y")


def taken(x: Any, y: Any, ways: int | None = None, shape: tuple[int, ...] = (1,)) -> Examples:
    kind = Regression() if ways is None else Classification(ways)
    return examples(x, y, NAMES, InputSpec.of(shape), kind, torch.float32, CPU)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "x",
    [
        [1, 2, 3], [[1.0], [2.0], [3.0]], np.array([1, 2, 3], np.uint16), np.array([3.0, 2.0, 1.0])[::-1],
        np.array([1, 2, 3], np.float16), np.array([1, 2, 3], np.longdouble), np.array([1, 2, 3], ">i4"),
        torch.tensor([1, 2, 3]), torch.tensor([1.0, 2.0, 3.0], requires_grad=True), torch.tensor([1, 2, 3]).half(),
    ],
    ids=lambda x: str(getattr(x, "dtype", "list")),
)  # fmt: skip
def test_numbers_of_any_type_are_taken(x: Any) -> None:
    made = taken(x, x)
    for part in made:
        assert (part.dtype, part.requires_grad) == (torch.float32, False)
        torch.testing.assert_close(part, torch.tensor([[1.0], [2.0], [3.0]]))


@pytest.mark.parametrize("y", [[0, 2], np.array([0, 2], np.uint8), np.array([0, 2], np.int32), torch.tensor([0, 2])])
def test_class_numbers_of_any_integer_type_are_taken(y: Any) -> None:
    made = taken([[1.0], [2.0]], y, ways=3)
    assert made.y.dtype == torch.int64
    assert made.y.tolist() == [0, 2]


def test_what_is_taken_is_a_copy() -> None:
    for x in (np.ones(3, np.float32), torch.ones(3, 1), torch.zeros(3, dtype=torch.int64)):
        made = taken(x, [1, 2, 3])
        before = made.x.clone()
        x += 1
        assert torch.equal(made.x, before)
    y = torch.zeros(3, dtype=torch.int64)
    made = taken([1, 2, 3], y, ways=2)
    y += 1
    assert made.y.tolist() == [0, 0, 0]


REFUSED = {
    "shape": ([[1, 2]], [1], None, "x has shape (1, 2), where (n, 1) is expected"),
    "no rows": ([], [], None, "x is empty; give at least one example"),
    "rows apart": ([1, 2], [1], None, "x has 2 rows and y 1: one label for each input"),
    "text": (["a"], [1], None, "x holds values of type <U1, where real numbers are expected"),
    "objects": ([None], [1], None, "x holds values of type object, where real numbers are expected"),
    "ragged": ([[1], [1, 2]], [1], None, "x is not an array of numbers: "),
    "complex": ([1j], [1], None, "x holds values of type complex128, where real"),
    "complex tensor": (torch.ones(1) * 1j, [1], None, "x holds values of type complex64, where real"),
    "nothing": (None, None, None, "x holds values of type object"),
    "nan": ([1, np.nan], [1, 2], None, "x holds a value that is not finite as float32 (row 1)"),
    "too large": ([1, 2], [1, 1e300], None, "y holds a value that is not finite as float32 (row 1)"),
    "class too high": ([1, 2], [0, 3], 3, "y holds class 3; there are 3 classes, 0 to 2"),
    "class below 0": ([1, 2], [-1, 0], 3, "y holds class -1; there are 3 classes, 0 to 2"),
    "class as a fraction": ([1, 2], [0.0, 1.0], 3, "y holds values of type float64, where class numbers"),
    "class as a truth": ([1, 2], [True, False], 3, "y holds values of type bool, where class numbers"),
    "class as one-hot": ([1, 2], [[0, 1], [1, 0]], 2, "y has shape (2, 2), where (n) class numbers are expected"),
    "a single number": (1.0, 1.0, None, "x has shape (), where (n, 1) is expected"),
}


@pytest.mark.parametrize(("x", "y", "ways", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_example_is_refused(x: Any, y: Any, ways: int | None, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        taken(x, y, ways)
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


def test_images_keep_their_shape() -> None:
    assert floating(np.zeros((2, 1, 4, 4)), "x", (1, 4, 4), torch.float64, CPU).shape == (2, 1, 4, 4)
    with pytest.raises(UserError, match=r"x has shape \(2, 4, 4\), where \(n, 1, 4, 4\) is expected"):
        floating(np.zeros((2, 4, 4)), "x", (1, 4, 4), torch.float64, CPU)
