"""How metarun compiles."""

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, TypeVar, TypeVarTuple

import torch
import torch._inductor.config as compiler
from torch import Tensor
from torch.utils._pytree import tree_map_only

from metarun.engine.graphs.simpler import SimplerGraph

Inputs = TypeVarTuple("Inputs")
R = TypeVar("R")


def compiled_whole(computation: Callable[[*Inputs], R]) -> Callable[[*Inputs], R]:
    """The computation as one graph for each shape of its inputs, fused by Inductor.

    What it closes over must never change: only its arguments, and what PyTorch is set to, tell whether a graph holds.
    """

    def whole(*arguments: *Inputs) -> R:
        return computation(*arguments)

    options: dict[str, Any] = {
        # Inductor would lay grouped convolutions out channels-last, which makes them ten times slower on CPUs.
        "layout_optimization": False,
        "guard_filter_fn": _of_use,
    }
    if not torch.cuda.is_available():  # what follows is untried there
        # Kernels are called from C++: from Python that takes small networks longer.
        options |= {"cpp_wrapper": True, "post_grad_custom_pre_pass": SimplerGraph()}
    # Dynamo keeps graphs by code object. All computations share that of `whole`, and none may run another's graph.
    apart: Callable[[*Inputs], R] = FunctionType(  # type: ignore[assignment]
        whole.__code__.replace(), globals(), whole.__name__, closure=whole.__closure__
    )
    compiled: Callable[[*Inputs], R] = torch.compile(apart, dynamic=False, fullgraph=True, options=options)
    return _copied_out(compiled) if records() else compiled


def records() -> bool:
    """Whether what is compiled now is recorded as CUDA graphs (`metarun.engine.device.cuda_graphs`)."""
    return bool(compiler.triton.cudagraphs)


def _copied_out(recorded: Callable[[*Inputs], R]) -> Callable[[*Inputs], R]:
    """The same, with results of its own: a graph writes its results to the same memory each time."""

    def computed(*arguments: *Inputs) -> R:
        torch.compiler.cudagraph_mark_step_begin()
        results: R = tree_map_only(Tensor, torch.clone, recorded(*arguments))
        return results

    return computed


def _of_use(guards: Sequence[Any]) -> list[bool]:
    """Which conditions to check at each call: not the thousand about what a learner consists of and PyTorch's own code,
    which take as long as all arithmetic of a small network."""
    return [not guard.name or guard.name.startswith("arguments") for guard in guards]
