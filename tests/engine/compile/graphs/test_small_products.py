"""Products are computed as before, in fewer and simpler operations."""

from collections.abc import Callable

import pytest
import torch
from graph_passes import simplified
from torch import Tensor

from metarun.engine.compile.graphs.small_products import SMALL, simplify

SHAPES = {"a": (3, 4), "b": (4, 5), "c": (3, 2), "d": (2, 5), "e": (5, 3)}


def product(left: Tensor, right: Tensor) -> Tensor:
    return torch.bmm(left, right) if left.dim() == 3 else torch.mm(left, right)


def flip(x: Tensor) -> Tensor:
    return x.permute(0, 2, 1) if x.dim() == 3 else x.permute(1, 0)


@pytest.mark.parametrize("lead", [(), (2,)], ids=["matrices", "batches"])
@pytest.mark.parametrize(
    ("computation", "products", "permutes"),
    [
        (lambda a, b, c, d, e: flip(product(a, b)), 1, 2),
        (lambda a, b, c, d, e: flip(product(flip(b), flip(a))), 1, 0),
        (lambda a, b, c, d, e: flip(product(a, b) + product(c, d)), 2, 4),
        (lambda a, b, c, d, e: flip(product(a, b) + flip(e)), 1, 2),
        (lambda a, b, c, d, e: flip(product(a, b) + (product(c, d) + flip(e))) + e, 2, 4),
        (lambda a, b, c, d, e: flip(product(a, b) + a.sum()), 1, 1),
        (lambda a, b, c, d, e: flip(a) * flip(2 * a), 0, 2),
    ],
)  # fmt: skip
def test_a_transposed_product_is_the_product_of_the_transposed(
    computation: Callable[..., Tensor], products: int, permutes: int, lead: tuple[int, ...]
) -> None:
    given = [torch.randn(*lead, *shape, dtype=torch.float64) for shape in SHAPES.values()]
    operations = simplified(simplify, computation, *given)
    assert (operations["bmm" if lead else "mm"], operations["permute"]) == (products, permutes)


def test_what_is_used_twice_is_computed_once() -> None:
    def twice(a: Tensor, b: Tensor) -> Tensor:
        made = product(a, b)
        return product(flip(made), made)

    operations = simplified(simplify, twice, torch.randn(3, 4), torch.randn(4, 5))
    assert operations == {"mm": 2, "permute": 1}


def test_other_orders_of_axes_are_no_transposes() -> None:
    operations = simplified(
        simplify, lambda a, b: product(a, b).permute(1, 0, 2), torch.randn(2, 3, 4), torch.randn(2, 4, 5)
    )
    assert operations == {"bmm": 1, "permute": 1}


@pytest.mark.parametrize(
    ("rows", "inner", "columns", "dtype", "left"),
    [
        (3, 1, 4, torch.float32, {"mul": 1}),
        (3, 4, 1, torch.float64, {"permute": 1, "mul": 1, "sum": 1}),
        (1, 4, 3, torch.float32, {"permute": 1, "mul": 1, "sum": 1}),
        (1, 1, 1, torch.float32, {"mul": 1}),
        (1, 5, 1, torch.float32, {"permute": 1, "mul": 1, "sum": 1}),
        (3, 4, 2, torch.float32, {"mm": 1}),
        (3, 4, 1, torch.int32, {"mm": 1}),
        (SMALL, 1, 1, torch.float32, {"mul": 1}),
        (SMALL + 1, 1, 1, torch.float32, {"mm": 1}),
    ],
)
def test_small_products_of_vectors_are_written_out(
    rows: int, inner: int, columns: int, dtype: torch.dtype, left: dict[str, int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (
        torch.randint(-9, 9, shape, generator=generator).to(dtype) for shape in ((rows, inner), (inner, columns))
    )
    assert simplified(simplify, product, one, other) == left
