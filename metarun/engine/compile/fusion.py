"""Compilation with Inductor."""

import warnings
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, TypeVar, TypeVarTuple

import torch

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
    }
    if not torch.cuda.is_available():  # what follows is untried there
        # Imported here, for it takes Inductor along: over a second, which a run that compiles nothing need not wait.
        from metarun.engine.compile.graphs.simpler import SimplerGraph

        # Kernels are called from C++: from Python that takes small networks longer.
        options |= {"cpp_wrapper": True, "post_grad_custom_pre_pass": SimplerGraph()}
    # Dynamo keeps graphs by code object. All computations share that of `whole`, and none may run another's graph.
    apart: Callable[[*Inputs], R] = FunctionType(  # type: ignore[assignment]
        whole.__code__.replace(), globals(), whole.__name__, closure=whole.__closure__
    )
    compiled: Callable[[*Inputs], R] = torch.compile(
        apart,
        dynamic=False,
        fullgraph=True,
        backend=_Inductor(mode=None, options=options, dynamic=False),
        options={"guard_filter_fn": _of_use},
    )
    return compiled


class _Inductor(torch._TorchCompileInductorWrapper):
    """Inductor without the warnings that PyTorch's own code gives while it compiles.

    They are advice to whoever writes the computation (which kernels it split, which precision would be faster), and of
    no use at a terminal. Warnings of other code, and those given before and after, are shown as ever.
    """

    def __call__(self, *arguments: Any, **by_name: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"torch\.")
            return super().__call__(*arguments, **by_name)


def _of_use(guards: Sequence[Any]) -> list[bool]:
    """Which conditions to check at each call: not the thousand about what a learner consists of and PyTorch's own code,
    which take as long as all arithmetic of a small network."""
    return [not guard.name or guard.name.startswith("arguments") for guard in guards]
