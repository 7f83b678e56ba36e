"""A lock on a folder for one process, released when the process ends in any way."""

from pathlib import Path

from filelock import FileLock

NAME = ".lock"


def held(folder: Path, *, wait: bool) -> FileLock:
    """A context within which no other process that asks holds the folder.

    Entering waits for it, or else raises `filelock.Timeout`.
    """
    return FileLock(folder / NAME, timeout=-1 if wait else 0)
