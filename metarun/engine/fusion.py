"""How metarun compiles."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def compiled_whole(computation: Callable[P, R]) -> Callable[P, R]:
    """The computation as one graph for each shape of its inputs, fused by Inductor."""
    # Inductor would lay grouped convolutions out channels-last, which makes them ten times slower on CPUs.
    return torch.compile(computation, dynamic=False, fullgraph=True, options={"layout_optimization": False})
