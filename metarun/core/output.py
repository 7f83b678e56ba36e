"""Standard output and standard error that never fail: output that cannot be written is dropped.

A run must not end, and its exit code must not change, because whoever read its output has gone (``metarun | head``), a
terminal was closed, or the program was started with closed streams.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_NAMES = ("stdin", "stdout", "stderr")


class _Forgiving:
    """A stream that discards everything from the first error on. Everything else is the wrapped stream's."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError) as error:
            self._discard(error)
            return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._discard(error)

    def _discard(self, error: OSError | ValueError) -> None:
        """Let the file descriptor lead nowhere, so that no later write, from Python or C, fails.

        Raises the error again if it says that the text, not the stream, is wrong.
        """
        if isinstance(error, ValueError):
            if not self._stream.closed:
                raise error
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, self._stream.fileno())
        except (OSError, ValueError):  # a stream without a descriptor of its own
            pass
        finally:
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def forgiving() -> Iterator[None]:
    """Within, writing to ``sys.stdout`` and ``sys.stderr`` raises no `OSError`, and both are there."""
    _open_missing()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Forgiving(before[0]), _Forgiving(before[1])
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _open_missing() -> None:
    """Open the null device in place of closed standard streams.

    Otherwise the next file opened, a checkpoint say, gets the number of one of them, and what C libraries print is
    written into it.
    """
    for number, name in enumerate(_NAMES):
        flag, mode = (os.O_WRONLY, "w") if number else (os.O_RDONLY, "r")
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flag)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flag), mode, encoding="utf-8"))
