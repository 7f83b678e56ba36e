"""Cores, memory and GPUs of concurrent jobs."""

import getpass
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from metarun.engine import device
from metarun.engine.device import DeviceSettings
from metarun.sweep.concurrent_job import ConcurrentJob, claim_device


def settings(threads: int | None) -> DeviceSettings:
    return DeviceSettings(
        name="cpu", precision="float32", compile="false", threads=threads, deterministic=False, cuda_graphs="auto"
    )


@pytest.mark.parametrize(("jobs", "asked", "expected"), [(4, None, 4), (3, None, 5), (20, None, 1), (4, 2, 2)])
def test_threads_are_divided(monkeypatch: pytest.MonkeyPatch, jobs: int, asked: int | None, expected: int) -> None:
    monkeypatch.setattr(device, "_cores", lambda: 16)
    assert ConcurrentJob(jobs, ExitStack()).most_threads(settings(asked)) == expected


def test_memory_is_divided_by_all_jobs() -> None:
    assert ConcurrentJob(3, ExitStack()).count_on(torch.device("cpu")) == 3


@pytest.fixture
def nameless(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account without a name, as in a container that is started with a user id alone."""

    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")  # as if it were not set, and put back afterwards


@pytest.mark.usefixtures("nameless")
def test_account_without_a_name_can_claim_devices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    with pytest.raises(KeyError):
        getpass.getuser()
    with ExitStack() as stack:
        assert claim_device(["GPU-a"], stack) == 0


@pytest.mark.usefixtures("nameless")
def test_command_sets_a_user_name(command: Callable[..., tuple[int, str, str]]) -> None:
    assert command("--version")[0] == 0
    assert getpass.getuser() == f"uid{os.getuid()}"


def test_each_job_has_a_separate_device_until_it_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    devices = ["GPU-a", "GPU-b"]
    with ExitStack() as first:
        assert claim_device(devices, first) == 0
        with ExitStack() as second, ExitStack() as third:
            assert claim_device(devices, second) == 1
            assert claim_device(devices, third) == 0, "if all are in use, they are shared"
        with ExitStack() as fourth:
            assert claim_device(devices, fourth) == 1
