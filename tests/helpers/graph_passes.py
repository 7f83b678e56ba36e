"""Graphs after a pass."""

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor
from torch.fx import Graph
from torch.fx.experimental.proxy_tensor import make_fx


def simplified(simplify: Callable[[Graph], None], computation: Callable[..., Tensor], *given: Tensor) -> Counter[str]:
    """The operations of the simplified graph, which must compute what was asked for."""
    module = make_fx(computation, tracing_mode="fake")(*given)
    simplify(module.graph)
    module.graph.lint()
    module.recompile()
    wanted, found = computation(*given), module(*given)
    assert found.dtype == wanted.dtype
    torch.testing.assert_close(found, wanted)
    nodes = [node for node in module.graph.nodes if node.op == "call_function"]
    assert nodes[-1].meta["val"].shape == wanted.shape
    return Counter(str(node.target).split(".")[1] for node in nodes if str(node.target).startswith("aten."))
