"""Reading the nodes of a graph, and adding some."""

from typing import Any

from torch.fx import Graph, Node
from torch.fx.node import map_arg


def given(node: Node) -> tuple[Any, ...]:
    """Its arguments: of an operation's nodes these are a tuple, which the type of `Node.args` does not tell."""
    return tuple(node.args)


def shape(node: Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def called(graph: Graph, operation: Any, *arguments: Any) -> Node:
    """A new node, which knows what it results in as Inductor's own nodes do."""
    node = graph.call_function(operation, arguments)
    node.meta["val"] = operation(*map_arg(arguments, lambda one: one.meta["val"]))
    return node


def only_user(node: Node) -> Node | None:
    """The one node that needs it; ``None`` if there are several or none."""
    return next(iter(node.users)) if len(node.users) == 1 else None
