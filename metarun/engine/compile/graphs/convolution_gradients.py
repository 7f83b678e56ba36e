"""Cheaper forms of the gradients of convolutions, and of these gradients' own gradients.

PyTorch writes the second derivative with respect to a kernel as a convolution of swapped tensors with a kernel as large
as images; where each task has a kernel of its own, task by task. Libraries have one operation for all of that.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Graph, Node

from metarun.engine.compile.graphs.nodes import called, given, only_user, order_of_axes, shape

aten = torch.ops.aten
INPUT_ONLY, WEIGHT_ONLY = [True, False, False], [False, True, False]
"""Which gradients `convolution_backward` is asked for: with respect to input, weight and bias."""


def simplify(graph: Graph) -> None:
    """Convolutions that are gradients with respect to weights become such; of tensors whose shape alone is needed, none
    is written out."""
    for node in list(graph.nodes):
        found = gradient_at(node)
        if found is None:
            continue
        cut = end_of_cuts(node)
        if found.belongs_to(shape(cut)[2:]):
            with graph.inserting_before(cut):
                cut.replace_all_uses_with(found.added(graph, shape(cut)))
    for node in graph.nodes:
        if node.target is aten.convolution_backward.default:
            _leave_empty(graph, node)
    graph.eliminate_dead_code()


@dataclass(frozen=True)
class WeightGradient:
    """The gradient with respect to the weight of a convolution, whose stride, padding and dilation these are."""

    output_gradient: Node
    """``[examples, groups × channels out, *size]``"""
    input: Node
    """``[examples, groups × channels in, *size]``"""
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int

    def belongs_to(self, kernel: Sequence[int]) -> bool:
        """Whether a convolution with such a kernel has an output of this size."""
        sizes = zip(shape(self.input)[2:], shape(self.output_gradient)[2:], kernel, strict=True)
        settings = zip(self.stride, self.padding, self.dilation, strict=True)
        return all(
            (size + 2 * padding - dilation * (width - 1) - 1) // stride + 1 == output
            for (size, output, width), (stride, padding, dilation) in zip(sizes, settings, strict=True)
        )

    def added(self, graph: Graph, weight: tuple[int, ...]) -> Node:
        """As nodes of the graph, for a weight of this shape."""
        settings = (None, self.stride, self.padding, self.dilation, False, [0] * len(self.stride), self.groups)
        like = _empty(graph, self.input, weight)
        operands = (self.output_gradient, self.input, like)
        gradients = called(graph, aten.convolution_backward.default, *operands, *settings, WEIGHT_ONLY)
        return called(graph, operator.getitem, gradients, 1)


def gradient_at(node: Node) -> WeightGradient | None:
    """What is computed here as a swapped convolution of swapped tensors, or as one for each group, joined."""
    if not swaps(node):
        return None
    of = given(node)[0]
    parts: list[Any] = [of]
    if of.target is aten.cat.default and given(of)[1:] == (1,):
        parts = given(of)[0]
    if not all(isinstance(part, Node) and part.target is aten.convolution.default for part in parts):
        return None
    settings = given(parts[0])[2:]
    if any(given(part)[2:] != settings for part in parts):
        return None
    bias, stride, padding, dilation, is_transposed, _, groups = settings
    if bias is not None or is_transposed or groups != 1:
        return None
    input, output_gradient = (whole([given(part)[side] for part in parts]) for side in (0, 1))
    if input is None or output_gradient is None or not swaps(input) or not swaps(output_gradient):
        return None
    # What strides here, from one place of the kernel to the next, is dilation there; and the other way round.
    operands = given(output_gradient)[0], given(input)[0]
    return WeightGradient(*operands, stride=dilation, padding=padding, dilation=stride, groups=len(parts))


def swaps(node: Node) -> bool:
    """Whether it exchanges the first two axes, of three or more."""
    order = order_of_axes(node)
    return len(order) > 2 and order == [1, 0, *range(2, len(order))]


def whole(parts: list[Any]) -> Node | None:
    """What these are all, in order, of the first axis; ``None`` if they are not."""
    if len(parts) == 1:
        only: Node = parts[0]
        return only
    if any(part.target is not aten.slice.Tensor for part in parts):
        return None
    source: Node = given(parts[0])[0]
    rows = shape(source)[0] // len(parts)
    cuts = [(source, 0, number * rows, (number + 1) * rows) for number in range(len(parts))]
    return source if [given(part) for part in parts] == cuts and rows * len(parts) == shape(source)[0] else None


def end_of_cuts(node: Node) -> Node:
    """The last of the nodes after it that do nothing but leave out the ends of kernels."""
    after = only_user(node)
    if after is None or after.target is not aten.slice.Tensor:
        return node
    cut = given(after)
    return end_of_cuts(after) if len(cut) == 4 and cut[1] >= 2 and cut[2] == 0 else node


def _leave_empty(graph: Graph, node: Node) -> None:
    """Of the operand that has its gradient taken only the shape is needed: where a number was spread out for that, no
    library shall write it to memory."""
    needs = given(node)[-1]
    for place, alone in ((1, INPUT_ONLY), (2, WEIGHT_ONLY)):
        operand = given(node)[place]
        if list(needs) == alone and operand.target is aten.expand.default:
            with graph.inserting_before(node):
                node.update_arg(place, _empty(graph, operand, shape(operand)))


def _empty(graph: Graph, like: Node, size: tuple[int, ...]) -> Node:
    val = like.meta["val"]
    node = graph.call_function(
        aten.empty.memory_format, (list(size),), {"dtype": val.dtype, "device": val.device, "pin_memory": False}
    )
    node.meta["val"] = val.new_empty(size)
    return node
