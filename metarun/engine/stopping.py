"""Ctrl-C, and being asked to stop: finish the step, save, leave."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number: int, frame: FrameType | None) -> None:
        request.ask()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if tell:
            print("\nstopping after this step (again to stop at once)", flush=True)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
