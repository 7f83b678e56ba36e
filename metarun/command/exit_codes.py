"""Exit codes and error messages of a command.

0: done. 1: our bug, its traceback in the run's log. 2: a mistake of the user's. 3: meta-training diverged. 130: stopped
by the user.

An error in a part of the user's own is theirs: one line with its place, and its traceback, in the run's log where there
is one, else above that line.
"""

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from metarun.config.compose import one_line
from metarun.core.errors import Diverged, Interrupted, Lost, UserCodeError, UserError
from metarun.runs.failures import OurBug, bug

if TYPE_CHECKING:
    from metarun.engine.processes.group import ProcessGroup


class CommandFailure(NamedTuple):
    """A failed command: the line to print, the exit code, and a traceback to print above it."""

    line: str
    code: int
    trace: str = ""


def run_command(command: Callable[[], object], processes: "ProcessGroup | None" = None) -> CommandFailure | None:
    """Run a command and return its failure, if any. processes: the process group that runs it."""
    try:
        with _hydra_that_raises():
            command()
    except UserCodeError as error:
        return CommandFailure(one_line(str(error)), 2, "".join(traceback.format_exception(error.__cause__)))
    except Diverged as error:
        return CommandFailure(one_line(str(error)), 3)
    except UserError as error:
        return CommandFailure(one_line(str(error)), 2)
    except (Interrupted, KeyboardInterrupt) as error:
        return CommandFailure(one_line(str(error) or "stopped"), 130)
    except OurBug as error:
        return CommandFailure(one_line(str(error)), 1)
    except Lost as error:
        return CommandFailure(one_line(str(error)), error.code, error.trace)
    except Exception as error:
        which = "" if processes is None else f" in process {processes.rank} of {processes.count}"
        return CommandFailure(f"this is {bug(error)}{which}", 1, traceback.format_exc())
    return None


@contextmanager
def _hydra_that_raises() -> Iterator[None]:
    """Keep Hydra from printing errors and exiting by itself."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before
