"""Cheaper forms of the many small matrix products of batched tasks.

Gradients of gradients are full of transposed products, which are written one way and read the other, and of products of
vectors, which libraries are called for although they are element-wise work. For networks of a few kilobytes a task that
takes a fifth of the time.
"""

import torch
from torch.fx import Graph, Node

from metarun.engine.compile.graphs.nodes import called, given, order_of_axes, shape

aten = torch.ops.aten
PRODUCTS = (aten.mm.default, aten.bmm.default)
SMALL = 1 << 16
"""Multiplications of a product of vectors up to which it joins the element-wise code; of larger ones libraries make
more.
"""


def simplify(graph: Graph) -> None:
    """(AB)ᵀ becomes BᵀAᵀ, (AB + CD)ᵀ becomes BᵀAᵀ + DᵀCᵀ, and ``mm`` with a side of one multiplication and sum."""
    for node in graph.nodes:
        if not transposes(node):
            continue
        of = given(node)[0]
        if transposable(of) and not transposes(of):
            with graph.inserting_before(node):
                node.replace_all_uses_with(transposed(graph, of))
    graph.eliminate_dead_code()
    for node in graph.nodes:
        if node.target is aten.mm.default:
            with graph.inserting_before(node):
                simple = of_vectors(graph, *given(node))
            if simple is not None:
                node.replace_all_uses_with(simple)
    graph.eliminate_dead_code()


def transposes(node: Node) -> bool:
    """Whether it is the transpose of a matrix, or of a batch of these."""
    order = order_of_axes(node)
    last = len(order) - 1
    return last > 0 and order == [*range(last - 1), last, last - 1]


def transposable(node: Node) -> bool:
    """Whether its transpose costs no more than itself, which nothing else needs."""
    if transposes(node):
        return True
    if len(node.users) != 1:
        return False
    if node.target is aten.add.Tensor and not node.kwargs:
        terms = given(node)
        return all(isinstance(term, Node) and shape(term) == shape(node) and transposable(term) for term in terms)
    return node.target in PRODUCTS


def transposed(graph: Graph, node: Node) -> Node:
    """The transpose of what is `transposable`."""
    if node.target in PRODUCTS:
        return called(graph, node.target, *(_transpose(graph, factor) for factor in reversed(given(node))))
    if node.target is aten.add.Tensor:
        return called(graph, node.target, *(transposed(graph, term) for term in given(node)))
    return _transpose(graph, node)


def of_vectors(graph: Graph, left: Node, right: Node) -> Node | None:
    """The product of two small matrices, one of whose three sizes is one; else ``None``."""
    (rows, inner), columns = shape(left), shape(right)[1]
    floating = left.meta["val"].is_floating_point()  # sums of others are of another type
    if not floating or 1 not in (rows, inner, columns) or rows * inner * columns > SMALL:
        return None
    if inner == 1:
        return called(graph, aten.mul.Tensor, left, right)
    if columns == 1:
        right, axis = _transpose(graph, right), 1
    else:
        left, axis = _transpose(graph, left), 0
    return called(graph, aten.sum.dim_IntList, called(graph, aten.mul.Tensor, left, right), [axis], True)


def _transpose(graph: Graph, node: Node) -> Node:
    if transposes(node):
        of: Node = given(node)[0]
        return of
    last = node.meta["val"].dim() - 1
    return called(graph, aten.permute.default, node, [*range(last - 1), last, last - 1])
