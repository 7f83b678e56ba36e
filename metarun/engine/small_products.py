"""A pass over graphs that Inductor compiles: cheaper forms of the many small matrix products of batched tasks.

Gradients of gradients are full of transposed products, which are written one way and read the other, and of products of
vectors, which libraries are called for although they are element-wise work. For networks of a few kilobytes a task that
takes a fifth of the time.
"""

from typing import Any

import torch
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import Graph, Node

aten = torch.ops.aten
PRODUCTS = (aten.mm.default, aten.bmm.default)
SMALL = 1 << 16
"""Multiplications of a product of vectors up to which it joins the element-wise code; of larger ones libraries make
more.
"""


class SmallProducts(CustomGraphPass):
    """(AB)ᵀ becomes BᵀAᵀ, (AB + CD)ᵀ becomes BᵀAᵀ + DᵀCᵀ, and ``mm`` with a side of one multiplication and sum."""

    def __call__(self, graph: Graph) -> None:
        for node in graph.nodes:
            if not transposes(node):
                continue
            (of, _) = _given(node)
            if transposable(of) and not transposes(of):
                with graph.inserting_before(node):
                    node.replace_all_uses_with(transposed(graph, of))
        graph.eliminate_dead_code()
        for node in graph.nodes:
            if node.target is aten.mm.default:
                with graph.inserting_before(node):
                    simple = of_vectors(graph, *_given(node))
                if simple is not None:
                    node.replace_all_uses_with(simple)
        graph.eliminate_dead_code()

    def uuid(self) -> Any:
        """What Inductor's cache tells it by."""
        return get_hash_for_files((__file__,))


def transposes(node: Node) -> bool:
    """Whether it is the transpose of a matrix, or of a batch of these."""
    if node.target is not aten.permute.default:
        return False
    axes = _given(node)[1]
    last = len(axes) - 1
    order = [axis % (last + 1) for axis in axes]
    return last > 0 and order == [*range(last - 1), last, last - 1]


def transposable(node: Node) -> bool:
    """Whether its transpose costs no more than itself, which nothing else needs."""
    if transposes(node):
        return True
    if len(node.users) != 1:
        return False
    if node.target is aten.add.Tensor and not node.kwargs:
        terms = _given(node)
        return all(isinstance(term, Node) and _shape(term) == _shape(node) and transposable(term) for term in terms)
    return node.target in PRODUCTS


def transposed(graph: Graph, node: Node) -> Node:
    """The transpose of what is `transposable`."""
    if node.target in PRODUCTS:
        return _call(graph, node.target, *(_transpose(graph, factor) for factor in reversed(_given(node))))
    if node.target is aten.add.Tensor:
        return _call(graph, node.target, *(transposed(graph, term) for term in _given(node)))
    return _transpose(graph, node)


def of_vectors(graph: Graph, left: Node, right: Node) -> Node | None:
    """The product of two small matrices, one of whose three sizes is one; else ``None``."""
    (rows, inner), columns = _shape(left), _shape(right)[1]
    floating = left.meta["val"].is_floating_point()  # sums of others are of another type
    if not floating or 1 not in (rows, inner, columns) or rows * inner * columns > SMALL:
        return None
    if inner == 1:
        return _call(graph, aten.mul.Tensor, left, right)
    if columns == 1:
        right, axis = _transpose(graph, right), 1
    else:
        left, axis = _transpose(graph, left), 0
    return _call(graph, aten.sum.dim_IntList, _call(graph, aten.mul.Tensor, left, right), [axis], True)


def _given(node: Node) -> tuple[Any, ...]:
    """Its arguments: of an operation's nodes these are a tuple, which the type of `Node.args` does not tell."""
    return tuple(node.args)


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _transpose(graph: Graph, node: Node) -> Node:
    if transposes(node):
        of: Node = _given(node)[0]
        return of
    last = node.meta["val"].dim() - 1
    return _call(graph, aten.permute.default, node, [*range(last - 1), last, last - 1])


def _call(graph: Graph, operation: Any, *arguments: Any) -> Node:
    node = graph.call_function(operation, arguments)
    node.meta["val"] = operation(*(one.meta["val"] if isinstance(one, Node) else one for one in arguments))
    return node
