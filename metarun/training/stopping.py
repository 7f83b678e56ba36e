"""Stopping a run on Ctrl-C or SIGTERM: finish the step, save, exit."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from types import FrameType

LOOK = 0.5
"""Seconds between looks at a file, which a network's may make slow."""


class StopRequest:
    """Whether somebody asked the run to stop, by a signal, or by making ``file``."""

    def __init__(self, file: Path | None = None) -> None:
        self._asked, self._file, self._looked = False, file, -LOOK

    def ask(self) -> None:
        self._asked = True

    @property
    def asked(self) -> bool:
        now = time.monotonic()
        if self._file is not None and not self._asked and now - self._looked >= LOOK:
            self._looked, self._asked = now, self._file.exists()
        return self._asked


@contextmanager
def listening(*, tell: bool = True, file: Path | None = None) -> Iterator[StopRequest]:
    """Within, the first SIGINT or SIGTERM asks to stop after the current step; a second SIGINT stops at once.

    tell: whether to say so on the terminal. file: asks to stop too, when it appears.

    In a thread other than the main one signals are not ours to handle, and nothing is changed.
    """
    request = StopRequest(file)
    with on_signal(request.ask, "stopping after this step (again to stop at once)" if tell else None):
        yield request


@contextmanager
def on_signal(ask: Callable[[], None], message: str | None) -> Iterator[None]:
    """Within, SIGINT and SIGTERM call ``ask``, and the message is printed once; a second SIGINT stops at once.

    A signal handler can interrupt a write to the same stream, so a thread prints the message. In a thread other than
    the main one nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: SimpleQueue[bool] = SimpleQueue()  # the one queue whose put may be called from a signal handler

    def handle(number: int, frame: FrameType | None) -> None:
        ask()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        asked.put(True)

    def tell() -> None:
        if asked.get() and message is not None:
            print(f"\n{message}", flush=True)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        asked.put(False)
        teller.join()
