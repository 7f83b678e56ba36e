"""Reading the nodes of a graph, and adding some."""

from typing import Any

import torch
from torch.fx import Graph, Node
from torch.fx.node import map_arg


def given(node: Node) -> tuple[Any, ...]:
    """The arguments of a node, which are a tuple for operations, unlike the type of `Node.args`."""
    return tuple(node.args)


def shape(node: Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def order_of_axes(node: Node) -> list[int]:
    """In which order it puts the axes of what it is given; empty if it does something else."""
    if node.target is not torch.ops.aten.permute.default:
        return []
    axes = given(node)[1]
    return [axis % len(axes) for axis in axes]


def called(graph: Graph, operation: Any, *arguments: Any) -> Node:
    """A new node, which knows what it results in as Inductor's own nodes do."""
    node = graph.call_function(operation, arguments)
    node.meta["val"] = operation(*map_arg(arguments, lambda one: one.meta["val"]))
    return node


def only_user(node: Node) -> Node | None:
    """The one node that needs it; ``None`` if there are several or none."""
    return next(iter(node.users)) if len(node.users) == 1 else None
