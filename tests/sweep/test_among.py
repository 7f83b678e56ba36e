"""A job's share of its machine."""

import getpass
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from metarun.engine import device
from metarun.engine.device import DeviceSettings
from metarun.sweep.among import AmongJobs, claimed


def settings(threads: int | None) -> DeviceSettings:
    return DeviceSettings(
        name="cpu", precision="float32", compile="false", threads=threads, deterministic=False, cuda_graphs="auto"
    )


@pytest.mark.parametrize(("jobs", "asked", "expected"), [(4, None, 4), (3, None, 5), (20, None, 1), (4, 2, 2)])
def test_threads_are_divided(monkeypatch: pytest.MonkeyPatch, jobs: int, asked: int | None, expected: int) -> None:
    monkeypatch.setattr(device, "_cores", lambda: 16)
    assert AmongJobs(jobs, ExitStack()).most_threads(settings(asked)) == expected


def test_memory_is_shared_by_all() -> None:
    assert AmongJobs(3, ExitStack()).count_on(torch.device("cpu")) == 3


@pytest.fixture
def nameless(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account without a name, as in a container that is started with a user id alone."""

    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")  # as if it were not set, and put back afterwards


@pytest.mark.usefixtures("nameless")
def test_an_account_without_a_name_has_devices_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    with pytest.raises(KeyError):
        getpass.getuser()
    with ExitStack() as stack:
        assert claimed(["GPU-a"], stack) == 0


@pytest.mark.usefixtures("nameless")
def test_a_command_gives_the_account_a_name(command: Callable[..., tuple[int, str, str]]) -> None:
    assert command("--version")[0] == 0
    assert getpass.getuser() == f"uid{os.getuid()}"


def test_each_job_has_a_device_of_its_own_until_it_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    devices = ["GPU-a", "GPU-b"]
    with ExitStack() as first:
        assert claimed(devices, first) == 0
        with ExitStack() as second, ExitStack() as third:
            assert claimed(devices, second) == 1
            assert claimed(devices, third) == 0, "where all are taken, they are shared"
        with ExitStack() as fourth:
            assert claimed(devices, fourth) == 1
