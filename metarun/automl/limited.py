"""Calling a function in a process of its own, which is killed when its time is up."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

OK, FAILED, TIMEOUT = "ok", "failed", "timeout"
_LONGEST = 200
"""Characters of an error."""


class Outcome(NamedTuple):
    """status: ``ok``, ``failed`` or ``timeout``. value: what was returned. error: why there is none, in one line."""

    status: str
    value: Any = None
    error: str = ""


def attempted(function: Callable[..., Any], *arguments: Any) -> Outcome:
    """Call a function here, without a limit."""
    try:
        return Outcome(OK, function(*arguments))
    except Exception as error:  # whatever a configuration leads to is its result
        return Outcome(FAILED, None, " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST])


def limited(seconds: float, function: Callable[..., Any], *arguments: Any) -> Outcome:
    """Call a function in a forked process, for at most this time.

    Compiled code, which no signal handler of Python interrupts, is stopped too. To be called where no threads run
    (in a worker of joblib): a fork has only one.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(theirs, function, arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(seconds):
            return Outcome(TIMEOUT, None, f"took longer than {seconds:g} s")
        found: Outcome = ours.recv()
        return found
    except EOFError:
        process.join()
        return Outcome(FAILED, None, f"its process ended with exit code {process.exitcode}")
    finally:
        process.kill()
        process.join()
        ours.close()


def _tell(end: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    end.send(attempted(function, *arguments))
    end.close()
    os._exit(0)


def _end_with_parent() -> None:
    """End this process when its parent is gone, killed for example: nobody would stop it, and it holds its locks."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
