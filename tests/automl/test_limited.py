"""Calls with a time limit: what is returned, raised, or stopped."""

import os
import time
from pathlib import Path

import pytest

from metarun.automl.limited import attempted, limited


def test_the_value_is_returned() -> None:
    assert limited(10, sum, [1, 2]) == ("ok", 3, "")


def test_an_error_is_one_line() -> None:
    def broken() -> None:
        raise ValueError("a\n  b")

    assert limited(10, broken) == attempted(broken) == ("failed", None, "ValueError: a b")


def test_what_takes_too_long_is_stopped() -> None:
    begun = time.monotonic()
    assert limited(0.3, time.sleep, 60) == ("timeout", None, "took longer than 0.3 s")
    assert time.monotonic() - begun < 10


def test_a_process_that_ends_itself_has_failed() -> None:
    assert limited(10, os._exit, 3) == ("failed", None, "its process ended with exit code 3")


def test_it_ends_with_its_parent() -> None:
    """A parent that is killed leaves no process behind."""
    read, write = os.pipe()

    def child() -> None:
        os.write(write, f"{os.getpid()}\n".encode())
        time.sleep(60)

    parent = os.fork()
    if parent == 0:
        limited(60, child)
        os._exit(0)
    grandchild = int(os.read(read, 20))
    os.kill(parent, 9)
    os.waitpid(parent, 0)
    for _ in range(500):
        if not _runs(grandchild):
            return
        time.sleep(0.01)
    os.kill(grandchild, 9)
    pytest.fail("still runs")


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
