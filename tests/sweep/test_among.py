"""A job's share of its machine."""

from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from metarun.engine.device import DeviceSettings
from metarun.sweep import among
from metarun.sweep.among import AmongJobs, claimed


def settings(threads: int | None) -> DeviceSettings:
    return DeviceSettings(
        name="cpu", precision="float32", compile="false", threads=threads, deterministic=False, cuda_graphs=False
    )


@pytest.mark.parametrize(("jobs", "asked", "expected"), [(4, None, 4), (3, None, 5), (20, None, 1), (4, 2, 2)])
def test_threads_are_divided(monkeypatch: pytest.MonkeyPatch, jobs: int, asked: int | None, expected: int) -> None:
    monkeypatch.setattr(among, "_cores", lambda: 16)
    assert AmongJobs(jobs, ExitStack()).threads(settings(asked)) == expected


def test_memory_is_shared_by_all() -> None:
    assert AmongJobs(3, ExitStack()).beside(torch.device("cpu")) == 3


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
