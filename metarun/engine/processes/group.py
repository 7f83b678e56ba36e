"""The processes that ``torchrun`` started, as one run.

They speak over gloo, tensors on a GPU over NCCL; and, when one of them fails, through torchrun's key-value store, which
outlives them. Every process holds the same φ: gradients are summed once a meta-update, and both libraries give all
processes the same bits of a sum.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from metarun.core.errors import Lost, UserError
from metarun.engine.processes.alone import Processes

if TYPE_CHECKING:
    from metarun.engine.device import DeviceSettings

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)
"""For one to come where the others wait: longer than any loads its data. One that has died is noticed at once."""
FIRST_TELLS = 2.0
"""Seconds that the others give the first process to tell a failure that all have met."""
TOLD_WITHIN = 5.0
"""Seconds in which one that failed tells why, before it is taken for killed; longer than `FIRST_TELLS`."""

_FAILURE, _CLAIMS = "metarun/failure", "metarun/claims"


class ProcessGroup(Processes):
    """This process among ``count``, of which ``local_count`` are on this machine."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.rank, self.count = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        self._local_rank, self._local_count = int(environment["LOCAL_RANK"]), int(environment["LOCAL_WORLD_SIZE"])
        machines = int(environment.get("GROUP_WORLD_SIZE", "1"))
        several = f"--nnodes={machines} " if machines > 1 else ""
        self.launcher = f"torchrun {several}--nproc-per-node={self._local_count} -m "
        self._asked, self.failed = torch.zeros(()), False
        self._store, _, _ = next(dist.rendezvous("env://", timeout=TIMEOUT))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        dist.init_process_group(
            backend,
            store=dist.PrefixStore("metarun/group", self._store),
            rank=self.rank,
            world_size=self.count,
            timeout=TIMEOUT,
        )

    def device(self, found: torch.device) -> torch.device:
        if found.type != "cuda":
            return found
        if found.index is not None:
            raise UserError(
                f"device.name={found}: under torchrun each process has a CUDA device of its own; use device=cuda"
            )
        if self._local_count > torch.cuda.device_count():
            raise UserError(
                f"torchrun --nproc-per-node={self._local_count}: there are {torch.cuda.device_count()} CUDA devices "
                "here, one for each process; start as many, or use device=cpu"
            )
        torch.cuda.set_device(self._local_rank)
        return torch.device("cuda", self._local_rank)

    def most_threads(self, settings: "DeviceSettings") -> int:
        return int(self.told(str(settings.most_threads(self._local_count))))

    def beside(self, device: torch.device) -> int:
        return 1 if device.type == "cuda" else self._local_count

    def gathered(self, parts: list[T], count: int) -> list[T]:
        device = tree_leaves(parts)[0].device
        found: list[list[T]] = [[] for _ in range(self.count)]
        with self._heard():
            dist.all_gather_object(found, tree_map(Tensor.cpu, parts))  # or they would arrive on the sender's GPU
        whole = [found[number % self.count][number // self.count] for number in range(count)]
        return [tree_map(lambda leaf: leaf.to(device), each) for each in whole]

    def summed(self, tree: T, weight: float, asked: bool) -> T:
        leaves, structure = tree_flatten(tree)
        flag = leaves[0].new_tensor([float(asked)])
        flat = torch.cat([*(weight * leaf.flatten() for leaf in leaves), flag])
        with self._heard():
            dist.all_reduce(flat)
        *sums, self._asked = flat.split([*(leaf.numel() for leaf in leaves), 1])
        shaped = [total.view_as(leaf).to(leaf.dtype) for total, leaf in zip(sums, leaves, strict=True)]
        return tree_unflatten(shaped, structure)

    def stopping(self, asked: bool) -> bool:
        return bool(self._asked > 0)

    def any(self, flag: bool) -> bool:
        flags = torch.tensor(float(flag))
        with self._heard():
            dist.all_reduce(flags)
        return bool(flags > 0)

    def follow(self, tree: Any) -> None:
        leaves = tree_leaves(tree)
        if not leaves:
            return
        flat = torch.cat([leaf.flatten() for leaf in leaves])
        with self._heard():
            dist.broadcast(flat, 0)
        for leaf, values in zip(leaves, flat.split([leaf.numel() for leaf in leaves]), strict=True):
            leaf.copy_(values.view_as(leaf))

    def told(self, text: str) -> str:
        texts = [text]
        with self._heard():
            dist.broadcast_object_list(texts, src=0)
        return texts[0]

    def wait(self) -> None:
        self.any(False)

    @contextmanager
    def first_ahead(self) -> Iterator[None]:
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def fail(self, line: str, code: int, trace: str) -> None:
        """Print the line, the trace above it, unless one has told already. The others notice when this process ends."""
        self.failed = True
        _report(line)
        if not self.first and self._failure(FIRST_TELLS) is not None:
            return
        with suppress(RuntimeError):
            if self._store.add(_CLAIMS, 1) > 1:
                return
            self._store.set(_FAILURE, json.dumps([line, code, trace]))
        print(f"{trace}metarun: {line}", file=sys.stderr, flush=True)

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """Within, the others are spoken with. Raises `Lost` when one does not answer."""
        try:
            yield
        except RuntimeError as error:
            failure = self._failure(TOLD_WITHIN)
            if failure is None:
                raise Lost(
                    "another process of this run exited without an error message (killed, or out of memory?)"
                ) from error
            line, code, trace = failure
            raise Lost(line, code=code, trace=trace, told=True) from error

    def _failure(self, within: float) -> tuple[str, int, str] | None:
        """What the process that failed tells within so many seconds."""
        until = time.monotonic() + within
        with suppress(RuntimeError):  # of a store that is gone
            while not self._store.check([_FAILURE]):
                if time.monotonic() > until:
                    return None
                time.sleep(0.05)
            line, code, trace = json.loads(self._store.get(_FAILURE))
            return line, code, trace
        return None


@contextmanager
def joined() -> Iterator[ProcessGroup]:
    """Within, this process is one of those that torchrun started.

    From here to its end torchrun's order to end, which it gives to all once one has failed, does nothing: they notice
    by themselves, and leave the run's folder as it should be found.

    Raises `UserError` where they cannot reach each other.
    """
    try:
        group = ProcessGroup(os.environ)
    except RuntimeError as error:
        raise UserError(f"cannot connect to the other processes: {str(error).partition(chr(10))[0]}") from error
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    yield group
    if not group.failed:
        dist.destroy_process_group()


def _report(line: str) -> None:
    """Have torchrun name the reason in its own report, which comes last."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file is not None:
        details = {"py_callstack": line, "timestamp": str(int(time.time()))}
        Path(file).write_text(json.dumps({"message": {"message": line, "extraInfo": details}}), encoding="utf-8")
