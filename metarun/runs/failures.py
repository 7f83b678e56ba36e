"""Error messages: one line that names the responsible code, and a traceback in the log for bugs."""

import logging

from metarun.config.compose import one_line
from metarun.core.errors import Lost, UserCodeError, UserError


class OurBug(Exception):
    """An error whose traceback is already in a log."""


def named(error: BaseException) -> str:
    return one_line(f"{type(error).__name__}: {error}")


def bug(error: BaseException) -> str:
    """A bug, whose it may be, and what it is."""
    return ", ".join(("a bug", *getattr(error, "__notes__", ()))) + f": {named(error)}"


def write_to_log(error: BaseException) -> None:
    """Write an error to the run's log, and not to the terminal, with a traceback where code is to be mended."""
    culprit = error.__cause__ if isinstance(error, UserCodeError) else error
    if isinstance(error, UserError | Lost) and not isinstance(error, UserCodeError):
        culprit = None
    told = None if culprit is None else (type(culprit), culprit, culprit.__traceback__)
    text = error.trace + str(error) if isinstance(error, Lost) else one_line(str(error))
    record = logging.LogRecord("metarun", logging.ERROR, __file__, 0, text, None, told)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
