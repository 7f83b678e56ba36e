"""Ctrl-C, and being asked to stop: finish the step, save, leave."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether somebody asked the run to stop."""

    asked = False


@contextmanager
def listening(*, tell: bool = True) -> Iterator[StopRequest]:
    """Within, the first SIGINT or SIGTERM asks to stop after the current step; a second SIGINT stops at once.

    tell: whether to say so on the terminal.

    In a thread other than the main one signals are not ours to handle, and nothing is changed.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number: int, frame: FrameType | None) -> None:
        request.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if tell:
            print("\nstopping after this step (again to stop at once)", flush=True)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
