"""A share of the time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Share:
    """Keeps what is done aside to a share (0 to 1) of the time since it was made, to within one doing.

    clock: seconds, from any beginning.
    """

    def __init__(self, share: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._share, self._clock, self._began, self._spent = share, clock, clock(), 0.0

    def left(self) -> bool:
        """Whether less than the share is spent."""
        return self._spent <= self._share * (self._clock() - self._began)

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Around what is done aside."""
        began = self._clock()
        yield
        self._spent += self._clock() - began
