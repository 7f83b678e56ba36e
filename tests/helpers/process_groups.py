"""Process groups as started by torchrun, without its start-up time."""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from metarun.command import cli

# Each is forked from a server that has imported all once.
_CONTEXT = multiprocessing.get_context("forkserver")
_PRELOADED = ["launched", "torch._dynamo", "metarun.training.meta_test", "metarun.engine.processes.group"]
_CONTEXT.set_forkserver_preload(_PRELOADED)

PATIENCE = 120
"""Seconds for what takes one or two where nothing else runs."""


@dataclass(frozen=True)
class Launched:
    """Processes that work in one folder; each one's output goes to files beside it."""

    processes: list[BaseProcess]
    place: Path
    store: Any
    """Kept here, for it must outlive them all as torchrun's does."""

    def ended(self) -> list[int]:
        """Wait for all; their exit codes."""
        until = time.monotonic() + PATIENCE
        for process in self.processes:
            process.join(max(0, until - time.monotonic()))
        stuck = [process for process in self.processes if process.is_alive()]
        for process in stuck:
            process.kill()
            process.join()
        assert not stuck, f"{len(stuck)} processes hang: {self.told('err')}"
        return [int(process.exitcode or 0) for process in self.processes]

    def told(self, stream: str) -> str:
        """What all have written to ``out`` or ``err``."""
        texts = (self._file(rank, stream).read_text() for rank in range(len(self.processes)))
        return "".join(texts)

    def lines(self) -> list[str]:
        """The lines that metarun has for the user, of all processes."""
        return [line for line in self.told("err").splitlines() if line.startswith("metarun: ")]

    def _file(self, rank: int, stream: str) -> Path:
        return self.place / f"{rank}.{stream}"


def launch(count: int, place: Path, work: Callable[..., Any], *arguments: Any) -> Launched:
    """Start ``count`` processes in the present folder that call ``work(*arguments)``, with torchrun's environment.

    ``work`` is a function of a module; an integer that it returns is the exit code. ``place`` is for their output.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    place.mkdir(parents=True)
    processes = []
    for rank in range(count):
        environment = {
            "TORCHELASTIC_RUN_ID": "test",
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
        }
        files = [str(place / f"{rank}.{stream}") for stream in ("out", "err")]
        started = (str(Path.cwd()), environment, files, work, arguments)
        processes.append(_CONTEXT.Process(target=_started, args=started, daemon=True))
    for process in processes:
        process.start()
    return Launched(processes, place, store)


def launched(count: int, place: Path, work: Callable[..., Any], *arguments: Any) -> Launched:
    """`launch`, and all must end well."""
    done = launch(count, place, work, *arguments)
    codes = done.ended()
    assert codes == [0] * count, done.told("err")
    return done


def metarun(*arguments: str) -> int:
    """The command, in a started process."""
    return cli.main(arguments)


def _started(
    folder: str, environment: dict[str, str], files: list[str], work: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    os.chdir(folder)
    os.environ |= environment
    for number, file in zip((1, 2), files, strict=True):
        os.dup2(os.open(file, os.O_CREAT | os.O_WRONLY), number)
    torch.set_num_threads(1)
    assert threading.active_count() == 1
    code = work(*arguments)
    sys.exit(code if isinstance(code, int) else 0)
