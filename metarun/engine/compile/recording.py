"""Computations recorded as CUDA graphs: all kernels of a step are launched at once, not one by one from Python."""

import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar, TypeVarTuple

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map_only, tree_unflatten

log = logging.getLogger(__name__)

Inputs = TypeVarTuple("Inputs")
R = TypeVar("R")

WARM_UP = 3
"""Calls before a recording: libraries choose their algorithms and take their workspaces in the first."""
AGREEMENT = 1e-2
"""How far results may be from those of the same kernels launched one by one, relative to their norm. Sums on a GPU come
in another order each time; what a recording can get wrong, a number that stays what it was, is as large as itself."""


class Recorded(Generic[*Inputs, R]):
    """The computation, recorded once for each form and shape of its arguments and replayed from then on.

    All that changes between calls must be in its arguments, trees of tensors on one CUDA device, and it must not wait
    for the device. Where it cannot be recorded it is computed as it is, which is said once. Results are the caller's.
    """

    def __init__(self, computation: Callable[[*Inputs], R]) -> None:
        self._computation, self._graphs = computation, dict[Any, _Graph]()
        self.failed = False

    def __call__(self, *arguments: *Inputs) -> R:
        leaves, form = tree_flatten(arguments)
        if self.failed or not all(isinstance(leaf, Tensor) and leaf.is_cuda for leaf in leaves):
            return self._computation(*arguments)
        key = (str(form), *((leaf.shape, leaf.dtype) for leaf in leaves), torch.is_grad_enabled())
        if key not in self._graphs:
            try:
                self._graphs[key] = _Graph(self._computation, leaves, form)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # whatever a part of the user's does that a graph cannot hold
                self.failed = True
                log.info("no CUDA graph could be recorded, continuing without it (%s)", str(error).partition("\n")[0])
                return self._computation(*arguments)
        results: R = self._graphs[key](leaves)
        return results


class _Graph:
    """One recording, with separate memory for arguments and results."""

    def __init__(self, computation: Callable[..., Any], leaves: list[Tensor], form: TreeSpec) -> None:
        self._inputs = [leaf.clone(memory_format=torch.contiguous_format) for leaf in leaves]
        arguments = tree_unflatten(self._inputs, form)
        apart = torch.cuda.Stream()
        apart.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(apart):
            for _ in range(WARM_UP):
                computation(*arguments)
        torch.cuda.current_stream().wait_stream(apart)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._results = computation(*arguments)

    def __call__(self, leaves: list[Tensor]) -> Any:
        torch._foreach_copy_(self._inputs, leaves)
        self._graph.replay()
        return tree_map_only(Tensor, torch.clone, self._results)


def agree(found: Any, wanted: Any) -> bool:
    """Whether two trees of results of one form are the same but for the order of sums (`AGREEMENT`)."""
    pairs = list(zip(tree_flatten(found)[0], tree_flatten(wanted)[0], strict=True))
    scale = max((float(other.double().norm()) for _, other in pairs), default=0.0)
    return all(float((one.double() - other.double()).norm()) <= AGREEMENT * scale for one, other in pairs)
