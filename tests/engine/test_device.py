"""Where a run computes."""

import pytest
import torch
from builders import settings

from metarun.engine.device import DeviceSettings
from metarun.errors import UserError


def device(name: str) -> DeviceSettings:
    return DeviceSettings(name=name, precision="float64", compile="auto", threads=None)


def test_cpu_is_always_there() -> None:
    assert device("cpu").resolve() == torch.device("cpu")
    assert settings("device=cpu").device.resolve() == torch.device("cpu")
    assert device("cpu").dtype == torch.float64


@pytest.mark.parametrize(("devices", "expected"), [(0, "cpu"), (2, "cuda")])
def test_auto_takes_cuda_where_it_is(devices: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
    assert device("auto").resolve() == torch.device(expected)


@pytest.mark.parametrize("name", ["gpu", "cpu:1", "cuda:x", "cuda:-1", "tpu:0", ""])
def test_other_names_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UserError, match=rf"^device.name={name}: choose auto, cpu, cuda or cuda:N$"):
        device(name).resolve()


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_cuda_that_is_not_there_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=rf"^device.name={name}: PyTorch sees no CUDA device here; use device=cpu"):
        device(name).resolve()


def test_a_device_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device("cuda:1").resolve() == torch.device("cuda:1")
    with pytest.raises(UserError, match=r"^device.name=cuda:2: there are 2 CUDA devices, from cuda:0$"):
        device("cuda:2").resolve()


def test_threads_are_those_asked_for() -> None:
    chosen = DeviceSettings(name="cpu", precision="float32", compile="auto", threads=3)
    assert chosen.thread_count() == 3
    assert device("cpu").thread_count() >= 1
