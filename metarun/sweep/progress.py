"""Progress of a running sweep: a line for each job that ends, and the estimated time left."""

import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from tqdm import tqdm

from metarun.core.color import colored
from metarun.runs.files import LOG, STATUS
from metarun.sweep.outcomes import outcome
from metarun.sweep.search import JobOutcome

POLL = 0.5
"""Seconds between polls of the folders of running jobs."""
ENDED = ("done", "failed", "interrupted")


class SweepProgress:
    """Context manager that polls the job folders in a thread and prints a line for each job that ends.

    done: jobs that ended before the sweep was resumed.
    """

    def __init__(self, sweep: Path, total: int, done: int, objective: str | None) -> None:
        self._sweep, self.total, self._objective = sweep, total, objective
        self._before, self._ended, self._begun = done, done, time.monotonic()
        self._open: dict[str, object] = {}
        self._lock, self._over = threading.Lock(), threading.Event()
        self._bar = tqdm(desc="sweep", total=total, initial=done, disable=None, unit="job", leave=False)
        self._thread = threading.Thread(target=self._poll_until_exit, daemon=True)

    def follow(self, names: Iterable[str]) -> None:
        """Also poll these jobs, from now on."""
        with self._lock:
            self._open |= {name: self._stamp(name) for name in names}

    def open(self) -> set[str]:
        """The followed jobs that have not ended."""
        self._poll()
        with self._lock:
            return set(self._open)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._poll()
        self._bar.close()

    def _poll_until_exit(self) -> None:
        while not self._over.wait(POLL):
            self._poll()

    def _poll(self) -> None:
        with self._lock:
            for name in list(self._open):
                if self._stamp(name) == self._open[name]:
                    continue
                found = outcome(self._sweep / name, self._objective)
                if found.state in ENDED:
                    del self._open[name]
                    self._tell(name, found)

    def _stamp(self, name: str) -> object:
        """A value that changes when the status of a job is written."""
        try:
            file = (self._sweep / name / STATUS).stat()
        except OSError:
            return None
        return file.st_mtime_ns, file.st_ino

    def _tell(self, name: str, found: JobOutcome) -> None:
        self._ended += 1
        self._bar.update()
        count = f"{self._ended:>{len(str(self.total))}} of {self.total}"
        if found.state == "done":
            value = f"meta-val {found.metric} {'not finite' if found.value is None else format(found.value, '.4f')}"
            spread = "" if found.spread is None else f" ± {found.spread:.4f}"
            word = colored("done", "green", sys.stdout)
            self._bar.write(f"{count}  {word}    {value}{spread}{self._left()}  {name}")
        elif found.state == "failed":
            word, log = colored("FAILED", "red", sys.stderr), self._sweep / name / LOG
            self._bar.write(f"{count}  {word}  {name}: {found.reason} (log: {log})", file=sys.stderr)
        else:
            word = colored("INTERRUPTED", "yellow", sys.stderr)
            self._bar.write(f"{count}  {word}  {name}: {found.reason}", file=sys.stderr)

    def _left(self) -> str:
        """Estimated time of the remaining jobs, from the mean time of those that ended."""
        done, left = self._ended - self._before, self.total - self._ended
        if not left:
            return ""
        seconds = (time.monotonic() - self._begun) / done * left
        return f"  left {tqdm.format_interval(round(seconds))}"
