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
from metarun.engine.processes.single import Processes

if TYPE_CHECKING:
    from metarun.engine.device import DeviceSettings

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)
"""For collective operations: longer than loading data takes. A process that has died is noticed at once."""
MAIN_PROCESS_GRACE = 2.0
"""Seconds in which the main process may report a failure that all processes have."""
ERROR_TIMEOUT = 5.0
"""Seconds to wait for the error message of a failed process; longer than `MAIN_PROCESS_GRACE`."""

_FAILURE, _CLAIMS = "metarun/failure", "metarun/claims"


class ProcessGroup(Processes):
    """One of ``count`` processes, of which ``local_count`` are on this machine."""

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
                f"device.name={found}: under torchrun each process has a separate CUDA device; use device=cuda"
            )
        if self._local_count > torch.cuda.device_count():
            raise UserError(
                f"torchrun --nproc-per-node={self._local_count}: there are {torch.cuda.device_count()} CUDA devices "
                "here, one for each process; start as many, or use device=cpu"
            )
        torch.cuda.set_device(self._local_rank)
        return torch.device("cuda", self._local_rank)

    def most_threads(self, settings: "DeviceSettings") -> int:
        return int(self.broadcast_text(str(settings.most_threads(self._local_count))))

    def count_on(self, device: torch.device) -> int:
        return 1 if device.type == "cuda" else self._local_count

    def all_gather(self, parts: list[T], count: int) -> list[T]:
        device = tree_leaves(parts)[0].device
        found: list[list[T]] = [[] for _ in range(self.count)]
        with self._connected():
            dist.all_gather_object(found, tree_map(Tensor.cpu, parts))  # or they would arrive on the sender's GPU
        whole = [found[number % self.count][number // self.count] for number in range(count)]
        return [tree_map(lambda leaf: leaf.to(device), each) for each in whole]

    def all_reduce(self, tree: T, weight: float, asked: bool) -> T:
        leaves, structure = tree_flatten(tree)
        flag = leaves[0].new_tensor([float(asked)])
        flat = torch.cat([*(weight * leaf.flatten() for leaf in leaves), flag])
        with self._connected():
            dist.all_reduce(flat)
        *sums, self._asked = flat.split([*(leaf.numel() for leaf in leaves), 1])
        shaped = [total.view_as(leaf).to(leaf.dtype) for total, leaf in zip(sums, leaves, strict=True)]
        return tree_unflatten(shaped, structure)

    def should_stop(self, asked: bool) -> bool:
        return bool(self._asked > 0)

    def any(self, flag: bool) -> bool:
        flags = torch.tensor(float(flag))
        with self._connected():
            dist.all_reduce(flags)
        return bool(flags > 0)

    def broadcast(self, tree: Any) -> None:
        leaves = tree_leaves(tree)
        if not leaves:
            return
        flat = torch.cat([leaf.flatten() for leaf in leaves])
        with self._connected():
            dist.broadcast(flat, 0)
        for leaf, values in zip(leaves, flat.split([leaf.numel() for leaf in leaves]), strict=True):
            leaf.copy_(values.view_as(leaf))

    def broadcast_text(self, text: str) -> str:
        texts = [text]
        with self._connected():
            dist.broadcast_object_list(texts, src=0)
        return texts[0]

    def barrier(self) -> None:
        self.any(False)

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        if not self.is_main_process:
            self.barrier()
        yield
        if self.is_main_process:
            self.barrier()

    def fail(self, line: str, code: int, trace: str) -> None:
        """Print the traceback and the line, unless another process has. The others notice when this process exits."""
        self.failed = True
        _report(line)
        if not self.is_main_process and self._failure(MAIN_PROCESS_GRACE) is not None:
            return
        with suppress(RuntimeError):
            if self._store.add(_CLAIMS, 1) > 1:
                return
            self._store.set(_FAILURE, json.dumps([line, code, trace]))
        print(f"{trace}metarun: {line}", file=sys.stderr, flush=True)

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Context for collective operations. Raises `Lost` if another process has failed."""
        try:
            yield
        except RuntimeError as error:
            failure = self._failure(ERROR_TIMEOUT)
            if failure is None:
                raise Lost(
                    "another process of this run exited without an error message (killed, or out of memory?)"
                ) from error
            line, code, trace = failure
            raise Lost(line, code=code, trace=trace, told=True) from error

    def _failure(self, within: float) -> tuple[str, int, str] | None:
        """The error message of the failed process, waiting at most ``within`` seconds."""
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
    """Context in which this process belongs to the process group of torchrun.

    From here on SIGTERM, which torchrun sends to all once one has failed, is ignored: the processes notice the failure
    themselves, and leave the run folder in a consistent state.

    Raises `UserError` if they cannot connect.
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
    """Write the reason for torchrun's own report, which is printed last."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file is not None:
        details = {"py_callstack": line, "timestamp": str(int(time.time()))}
        Path(file).write_text(json.dumps({"message": {"message": line, "extraInfo": details}}), encoding="utf-8")
