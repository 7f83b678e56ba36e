"""A limit on the time of optional work."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class TimeBudget:
    """Limits optional work to a fraction (0 to 1) of the time since construction; only the last piece may exceed it.

    clock: seconds from an arbitrary origin.
    """

    def __init__(self, fraction: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._fraction, self._clock, self._began, self._spent = fraction, clock, clock(), 0.0

    def available(self) -> bool:
        """Whether some of the time is left."""
        return self._spent <= self._fraction * (self._clock() - self._began)

    @contextmanager
    def spend(self) -> Iterator[None]:
        """Context that measures a piece of optional work."""
        began = self._clock()
        yield
        self._spent += self._clock() - began
