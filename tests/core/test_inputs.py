"""What one input is: a tensor or named parts, some of which may be missing."""

from typing import Any

import numpy as np
import pytest
import torch
from builders import CPU

from metarun.core.errors import UserError
from metarun.core.inputs import (
    Input,
    Inputs,
    InputSpec,
    concatenated,
    flat,
    image_and_others,
    one_of,
    presence,
    rows_of,
)

SPEC = InputSpec.of({"image": (1, 2, 2), "age": Input((1,), optional=True)})
PLAIN = InputSpec.of((3,))


def taken(values: Any, spec: InputSpec = SPEC) -> Inputs:
    return spec.tensors(values, "x", torch.float64, CPU)


def test_a_tensor_has_one_part_without_a_name() -> None:
    assert (PLAIN.plain, PLAIN.shape, PLAIN.size, PLAIN.images) == (True, (3,), 3, [])
    assert taken(np.ones((2, 3)), PLAIN).shape == (2, 3)  # type: ignore[union-attr]


def test_named_parts_in_the_order_of_their_names() -> None:
    assert (SPEC.plain, SPEC.shape, SPEC.images) == (False, {"age": (1,), "image": (1, 2, 2)}, ["image"])
    assert SPEC.size == 1 + 1 + 4  # the number, whether it is there, the image
    assert SPEC.zeros(3).keys() == {"age", "age.present", "image"}


def test_rows_of_nan_of_an_optional_part_are_missing() -> None:
    x = taken({"image": np.ones((3, 1, 2, 2)), "age": [1.0, np.nan, 3.0]})
    assert isinstance(x, dict)
    assert x["age"].flatten().tolist() == [1, 0, 3]
    assert x[presence("age")].tolist() == [1, 0, 1]
    assert flat(x).tolist() == [[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1], [3, 1, 1, 1, 1, 1]]
    image, others = image_and_others(x, "image")
    assert others is not None
    assert (image.shape, others.tolist()) == ((3, 1, 2, 2), [[1, 1], [0, 0], [3, 1]])


def test_an_optional_part_may_be_missing_altogether() -> None:
    x = taken({"image": np.ones((2, 1, 2, 2))})
    assert isinstance(x, dict)
    assert (x["age"].tolist(), x["age.present"].tolist()) == ([[0], [0]], [0, 0])
    assert x.keys() == taken({"image": np.ones((2, 1, 2, 2)), "age": [1.0, 2.0]}).keys()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.ones((2, 4)), "x is not a dictionary of inputs by name (age, image)"),
        ({"image": np.ones((2, 1, 2, 2)), "wage": [1.0]}, "x has 'wage', which is not among its parts (age, image)"),
        ({"age": [1.0, 2.0]}, "x lacks 'image'"),
        ({"image": np.ones((2, 1, 2))}, "x['image'] has shape (2, 1, 2), where (n, 1, 2, 2) is expected"),
        ({"image": np.full((2, 1, 2, 2), np.nan)}, "x['image'] holds a value that is not finite as float64 (row 0)"),
        ({"image": np.ones((2, 1, 2, 2)), "age": [1.0]}, "x has different numbers of rows: age 1, image 2"),
        ({"image": np.ones((2, 1, 2, 2)), "age": ["a", "b"]}, "x['age'] holds values of type"),
        ({"image": np.ones((2, 1, 2, 2)), "age": [np.inf, 1]}, "x['age'] holds a value that is not finite"),
    ],
)
def test_what_does_not_fit_is_refused(values: Any, told: str) -> None:
    with pytest.raises(UserError) as caught:
        taken(values)
    assert str(caught.value).startswith(told)


def test_rows_are_picked_and_joined_part_by_part() -> None:
    x = taken({"image": np.arange(8.0).reshape(2, 1, 2, 2), "age": [1.0, np.nan]})
    assert flat(rows_of(x, torch.tensor([1, 0, 1]))).tolist() == [flat(x)[place].tolist() for place in (1, 0, 1)]
    torch.testing.assert_close(flat(concatenated(x, x)), torch.cat((flat(x), flat(x))))
    assert one_of(x).dtype == torch.float64


def test_whether_inputs_fit() -> None:
    x = taken({"image": np.ones((2, 1, 2, 2))})
    assert SPEC.fits(x, axes=1)
    assert not PLAIN.fits(x, axes=1)
    assert not SPEC.fits({**x, "image": torch.ones(2, 1, 3, 2)}, axes=1)  # type: ignore[dict-item]
    assert PLAIN.fits(torch.ones(5, 2, 3), axes=2)
    assert not SPEC.fits(torch.ones(5, 2, 3), axes=2)
