"""Errors in optional output do not end a run."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from metarun.core.errors import Interrupted, Lost
from metarun.runs.failures import named, write_to_log

log = logging.getLogger(__name__)


class BestEffort:
    """Runs what may fail without harm. A failure is one line of the log, the first time for each thing attempted."""

    def __init__(self) -> None:
        self._failed: set[str] = set()

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Within, an error costs ``what`` is attempted and nothing else; a request to stop passes."""
        try:
            yield
        except (Interrupted, Lost):
            raise
        except Exception as error:
            if what not in self._failed:
                self._failed.add(what)
                log.warning("not drawn: %s (%s); the run's figures are not affected", what, named(error))
                write_to_log(error)
