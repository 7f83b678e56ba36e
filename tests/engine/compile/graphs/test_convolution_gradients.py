"""Gradients of convolutions are computed as before, by one operation."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch._inductor.config as compiler
from graph_passes import simplified
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import grad, vmap
from torch.fx import Graph

from metarun.engine.compile.fusion import compiled_whole
from metarun.engine.compile.graphs import convolution_gradients
from metarun.engine.compile.graphs.convolution_gradients import simplify

aten = torch.ops.aten
SWAPPED = (1, 0, 2, 3)


def weight_gradient(
    x: Tensor,
    slope: Tensor,
    kernel: tuple[int, int],
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    order: Callable[[list[Any]], list[Any]] = list,
    groups: int = 1,
    axis: int = 1,
    transposed: bool = False,
    inner_groups: int = 1,
) -> Tensor:
    """As PyTorch writes it: a convolution for each group, the places of whose kernel are the convolution's."""
    x, slope = x.permute(SWAPPED), slope.permute(SWAPPED)
    rows, more_rows = len(x) // groups, len(slope) // groups
    both = [
        (aten.slice(x, 0, n * rows, (n + 1) * rows), aten.slice(slope, 0, n * more_rows, (n + 1) * more_rows))
        if groups > 1
        else (x, slope)
        for n in range(groups)
    ]
    others = ([dilation] * 2, [padding] * 2, [stride] * 2, transposed, [0, 0], inner_groups)
    parts = [aten.convolution(one, other, None, *others) for one, other in order(both)]
    whole = torch.cat(parts, axis) if groups > 1 else parts[0]
    for place, size in enumerate(kernel, 2):
        whole = aten.slice(whole.permute(SWAPPED) if place == 2 else whole, place, 0, size)
    return whole


@given(
    groups=st.integers(1, 3),
    channels=st.integers(1, 3),
    filters=st.integers(1, 3),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
)
@settings(deadline=None, max_examples=60)
def test_weight_gradients_are_recognized(
    groups: int,
    channels: int,
    filters: int,
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
    size: tuple[int, int],
) -> None:
    x = torch.randn(2, groups * channels, *size, dtype=torch.float64)
    weight = torch.randn(groups * filters, channels, *kernel, dtype=torch.float64, requires_grad=True)
    output = torch.nn.functional.conv2d(x, weight, None, stride, padding, dilation, groups)
    slope = torch.randn_like(output)

    def gradient(x: Tensor, slope: Tensor) -> Tensor:
        return weight_gradient(x, slope, kernel, stride, padding, dilation, groups=groups)

    (wanted,) = torch.autograd.grad(output, weight, slope)
    torch.testing.assert_close(gradient(x, slope), wanted)
    assert simplified(simplify, gradient, x, slope) == {"empty": 1, "convolution_backward": 1}


LEFT_ALONE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "other size": lambda x, slope: weight_gradient(x, slope, (3, 4)),
    "other order": lambda x, slope: weight_gradient(x, slope, (4, 4), groups=2, order=lambda parts: parts[::-1]),
    "one twice": lambda x, slope: weight_gradient(x, slope, (4, 4), groups=2, order=lambda parts: parts[:1] * 2),
    "other axis": lambda x, slope: weight_gradient(x, slope, (4, 4), groups=2, axis=0),
    "some left out": lambda x, slope: weight_gradient(x, slope, (4, 4), groups=3),
    "groups": lambda x, slope: weight_gradient(x, slope[:2], (4, 4), inner_groups=2),
    "transposed": lambda x, slope: weight_gradient(x, slope, (4, 4), transposed=True),
    "not swapped": lambda x, slope: torch.conv2d(x, slope).permute(SWAPPED),
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_other_operations_are_left_unchanged(name: str) -> None:
    """Of tensors with four examples and channels each."""
    x, slope = torch.randn(4, 4, 6, 6, dtype=torch.float64), torch.randn(4, 4, 3, 3, dtype=torch.float64)
    assert "convolution_backward" not in simplified(simplify, LEFT_ALONE[name], x, slope)


def backward(slope: Tensor, x: Tensor, weight: Tensor, needs: list[bool], gives: int) -> Tensor:
    shared = (None, [2, 2], [1, 1], [1, 1], False, [0, 0], 1)
    gradient: Tensor = aten.convolution_backward(slope, x, weight, *shared, needs)[gives]
    return gradient


def test_shape_only_tensors_are_not_materialized() -> None:
    slope, x, weight = (torch.randn(2, 4, 3, 3), torch.randn(2, 3, 5, 5), torch.randn(4, 3, 3, 3))
    number = torch.tensor(2.0)

    def of_input(slope: Tensor, number: Tensor, weight: Tensor) -> Tensor:
        return backward(slope, number.expand(2, 3, 5, 5), weight, [True, False, False], 0)

    def of_weight(slope: Tensor, x: Tensor, number: Tensor) -> Tensor:
        return backward(slope, x, number.expand(4, 3, 3, 3), [False, True, False], 1)

    def of_both(slope: Tensor, number: Tensor, weight: Tensor) -> Tensor:
        return backward(slope, number.expand(2, 3, 5, 5), weight, [True, True, False], 1)

    assert simplified(simplify, of_input, slope, number, weight) == {"empty": 1, "convolution_backward": 1}
    assert simplified(simplify, of_weight, slope, x, number) == {"empty": 1, "convolution_backward": 1}
    assert simplified(simplify, of_both, slope, number, weight) == {"expand": 1, "convolution_backward": 1}


def test_second_derivatives_of_many_tasks_have_no_convolution_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PyTorch may write them otherwise one day: then this tells."""
    torch.compiler.reset()
    counts = []

    def counted(graph: Graph) -> None:
        counts.append(count(graph))
        simplify(graph)
        counts.append(count(graph))

    def count(graph: Graph) -> int:
        """Convolutions whose dilation was the stride of the network's."""
        return sum(node.target is aten.convolution.default and node.args[5] == [2, 2] for node in graph.nodes)

    def layer(x: Tensor, weight: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(x, weight, stride=2, padding=1).pow(3)

    def adapted(weight: Tensor, x: Tensor) -> Tensor:
        def loss(weight: Tensor) -> Tensor:
            return layer(layer(x, weight), weight).mean()

        for _ in range(2):
            weight = weight - 0.01 * grad(loss)(weight)
        return loss(weight)

    def total(weight: Tensor, x: Tensor) -> Tensor:
        return vmap(adapted, (None, 0))(weight, x).sum()

    monkeypatch.setattr(convolution_gradients, "simplify", counted)
    tasks = 6
    weight, x = torch.randn(3, 3, 3, 3, dtype=torch.float64) / 9, torch.randn(tasks, 2, 3, 6, 6, dtype=torch.float64)
    with compiler.patch(force_disable_caches=True):  # graphs that are found there go through no pass
        found = compiled_whole(grad(total))(weight, x)
    torch.testing.assert_close(found, grad(total)(weight, x), rtol=1e-10, atol=1e-12)
    before, after = counts
    assert before >= tasks
    assert after == 0
