"""The work of a computation, counted on fake tensors and never timed."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import conv_flop_count, flop_registry

from metarun.engine.memory_estimate import without_contents

MOST = 20_000
"""Operations after which counting ends."""


@dataclass(frozen=True)
class Workload:
    """What a computation consists of.

    operations: PyTorch operations that are launched, views included: with small tensors, what eager execution takes its
    time for. bytes: of all tensors that these operations make, views excluded: what is written to memory and read
    again. flops: floating-point operations of products of matrices and of convolutions.
    """

    operations: int
    bytes: int
    flops: int


def workload(computation: Callable[..., Any], *inputs: Any) -> Workload:
    """The `Workload` of ``computation(*inputs)``, which is not carried out; the inputs are trees of tensors.

    It depends on shapes alone, hence is the same on every machine. Counting takes about .2 ms an operation, and ends
    after `MOST` of them: the workload is that of these, then.
    """
    counter = _Counter()
    with suppress(_Enough), without_contents(inputs) as shadows, counter:
        computation(*shadows)
    return Workload(counter.operations, counter.bytes, counter.flops)


class _Enough(Exception):
    """`MOST` operations have been counted."""


class _Counter(TorchDispatchMode):
    """Counts the operations that reach the device, below automatic differentiation and vmap."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.bytes = self.flops = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.operations == MOST:
            raise _Enough
        made = operation(*args, **(kwargs or {}))
        if operation.namespace == "prim":  # a question about a tensor, which only those without contents ask
            return made
        self.operations += 1
        if not operation.is_view:
            self.bytes += sum(leaf.nbytes for leaf in tree_leaves(made) if isinstance(leaf, Tensor))
            self.flops += _flops(operation, args, kwargs or {}, made)
        return made


def _flops(operation: Any, args: Any, kwargs: Any, made: Any) -> int:
    name = operation.overloadpacket
    if str(name) == "aten.convolution_backward":
        return _of_convolution_gradients(args)
    return int(flop_registry[name](*args, **kwargs, out_val=made)) if name in flop_registry else 0


def _of_convolution_gradients(args: Any) -> int:
    """Each gradient of a convolution takes as much as the convolution; PyTorch's own count forgets groups."""
    gradient, x, weight, _, _, _, _, transposed, _, _, wanted = args
    forward = conv_flop_count(list(x.shape), list(weight.shape), list(gradient.shape), transposed)
    return sum(wanted[:2]) * int(forward)
