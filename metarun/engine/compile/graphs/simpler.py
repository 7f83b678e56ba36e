"""The pass that Inductor is given."""

from pathlib import Path
from typing import Any

from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import Graph

from metarun.engine.compile.graphs import convolution_gradients, small_products


class SimplerGraph(CustomGraphPass):
    """Cheaper forms of what gradients of gradients of batched tasks consist of."""

    def __call__(self, graph: Graph) -> None:
        small_products.simplify(graph)
        convolution_gradients.simplify(graph)

    def uuid(self) -> Any:
        """Identifier of the pass for Inductor's cache."""
        return get_hash_for_files(tuple(str(file) for file in sorted(Path(__file__).parent.glob("*.py"))))
