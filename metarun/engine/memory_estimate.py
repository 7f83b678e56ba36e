"""How many tasks fit into memory at once: an estimate on fake tensors."""

import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from metarun.core.errors import UserError
from metarun.core.inputs import concatenated, rows_of
from metarun.core.tasks import TaskBatch
from metarun.learner.learner import Learner
from metarun.models.normalization import Context

log = logging.getLogger(__name__)

T = TypeVar("T")

SHARE = 0.8
"""Of the free memory, how much a run may take."""
ROOM = 2.0
"""What a computation takes beyond its tensors, as a factor: 1.6 and 1.8 were measured, for the rests that an allocator
cannot fill and for what libraries lay out anew."""
COPIES = 16
"""More than a meta-gradient holds, for each pass through the network, of all that the pass makes and of θ."""
OUT_OF_MEMORY = ("out of memory", "can't allocate memory")
"""PyTorch's messages, on CUDA and on the CPU."""


def fitting(computation: Callable[[Any], Any], sample: Callable[[int], Any], wanted: int, free: int | None) -> int:
    """How many of ``wanted`` tasks to compute at once in ``free`` bytes (``None``: not known), in parts of one size.

    ``computation(tasks)`` is the computation, and ``sample(count)`` returns ``count`` tasks.
    """
    if free is None or wanted < 2:
        return wanted
    each = needed(computation, sample, 1)
    parts = -(-wanted // max(1, int(SHARE * free / max(each, 1))))
    return -(-wanted // parts)


def needed(computation: Callable[[Any], Any], sample: Callable[[int], Any], tasks: int) -> float:
    """Estimated bytes for ``tasks`` tasks at once; arguments as in `fitting`."""
    # A batch of a single task is laid out in another way than those of more.
    return tasks * ROOM * peak(computation, sample(2)) / 2


def surely_fits(learner: Learner, batch: TaskBatch, tasks: int, free: int) -> bool:
    """Whether ``tasks`` tasks like those of ``batch`` surely fit into ``free`` bytes, by a cheap upper bound."""
    support, query = batch.support, batch.query
    rows = concatenated(*(rows_of(part.x, 0) for part in (support, query)))
    forward = made(lambda rows: learner.model.network(rows, Context()), rows)
    theta = sum(parameter.nbytes for parameter in learner.model.network.parameters())
    inner = max(learner.algorithm.steps(testing) for testing in (False, True))
    return tasks * COPIES * (inner + 1) * (forward + theta) <= SHARE * free


def as_memory_allows(computation: Callable[[int], T], at_once: int) -> tuple[T, int]:
    """``computation(at_once)``, with half as many tasks at once where memory runs out; and how many there were.

    Raises `UserError` where one task is too much.
    """
    while True:
        try:
            return computation(at_once), at_once
        except RuntimeError as error:
            if not any(words in str(error) for words in OUT_OF_MEMORY):
                raise
            if at_once == 1:
                raise UserError(
                    "out of memory with one task at a time; use a smaller model, fewer queries or inner steps, or "
                    "algorithm.recompute=true"
                ) from error
        # Here, where the error no longer holds what was computed.
        log.info("out of memory with %d tasks at once: going on with %d", at_once, -(-at_once // 2))
        at_once = -(-at_once // 2)


def peak(computation: Callable[..., Any], *inputs: Any) -> int:
    """The most bytes that ``computation(*inputs)`` holds at a time, beyond its inputs; these are trees of tensors."""
    return _watched(computation, inputs).most


def made(computation: Callable[..., Any], *inputs: Any) -> int:
    """All bytes that ``computation(*inputs)`` makes, one after another."""
    return _watched(computation, inputs).made


@contextmanager
def without_contents(inputs: T) -> Iterator[T]:
    """A context in which tensors have shapes and no contents; gives the ``inputs``, a tree of tensors, as such."""
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        shadows: T = tree_map(lambda leaf: fake.from_tensor(leaf) if isinstance(leaf, Tensor) else leaf, inputs)
        yield shadows


def _watched(computation: Callable[..., Any], inputs: Any) -> "_Living":
    with without_contents(inputs) as shadows, _Living(shadows) as living:
        computation(*shadows)
    return living


class _Living(TorchDispatchMode):
    """Counts the bytes of all storages that are made and live."""

    def __init__(self, inputs: Any) -> None:
        super().__init__()
        self.now = self.most = self.made = 0
        self._known = {leaf.untyped_storage()._cdata for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)}

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = operation(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        name, size = storage._cdata, storage.nbytes()
        if name in self._known:
            return
        self._known.add(name)
        self.now += size
        self.made += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._gone, name, size)

    def _gone(self, name: int, size: int) -> None:
        self._known.discard(name)
        self.now -= size
