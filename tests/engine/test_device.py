"""Where a run computes."""

import pytest
import torch
from builders import settings

from metarun.core.errors import UserError
from metarun.engine import device as module
from metarun.engine.device import DeviceSettings


def device(name: str) -> DeviceSettings:
    return made(name, "float64", None)


def made(name: str, precision: str, threads: int | str | None) -> DeviceSettings:
    others = {"compile": "auto", "cuda_graphs": "auto", "deterministic": False}
    return DeviceSettings(name=name, precision=precision, threads=threads, **others)


def test_cpu_is_always_there() -> None:
    assert device("cpu").resolve() == torch.device("cpu")
    assert settings("device=cpu").device.resolve() == torch.device("cpu")
    assert device("cpu").dtype == torch.float64


@pytest.mark.parametrize(("devices", "expected"), [(0, "cpu"), (2, "cuda")])
def test_auto_uses_cuda_if_available(devices: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
    assert device("auto").resolve() == torch.device(expected)


@pytest.mark.parametrize("name", ["gpu", "cpu:1", "cuda:x", "cuda:-1", "tpu:0", ""])
def test_other_names_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UserError, match=rf"^device.name={name}: choose auto, cpu, cuda or cuda:N$"):
        device(name).resolve()


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_missing_cuda_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=rf"^device.name={name}: PyTorch sees no CUDA device here; use device=cpu"):
        device(name).resolve()


def test_a_device_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device("cuda:1").resolve() == torch.device("cuda:1")
    with pytest.raises(UserError, match=r"^device.name=cuda:2: there are 2 CUDA devices, from cuda:0$"):
        device("cuda:2").resolve()


@pytest.mark.parametrize(("jobs", "given", "expected"), [(1, "auto", 6), (3, "auto", 5), (20, None, 1), (4, 2, 2)])
def test_threads_are_those_given_or_a_share_of_the_cores(
    jobs: int, given: int | str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_cores", lambda: 16)
    monkeypatch.setattr(module, "_THREADS", 6)
    assert made("cpu", "float32", given).most_threads(jobs) == expected


@pytest.mark.parametrize("value", ["0", "all", "1.5", "2000", "true"])
def test_other_numbers_of_threads_are_refused(value: str) -> None:
    with pytest.raises(UserError, match=rf"^device.threads={value}: an integer of at least 1 and at most 1024 or "):
        settings(f"device.threads={value}")


def test_bf16_is_for_the_task_model_alone() -> None:
    chosen = settings("device.precision=bf16").device
    assert (chosen.dtype, chosen.compute) == (torch.float32, torch.bfloat16)
    assert settings("device.precision=float64").device.compute is None


def test_tf32_on_a_cpu_is_refused() -> None:
    with pytest.raises(UserError, match=r"^device.precision=tf32: .* this run is on cpu; use device.precision=float32"):
        settings("device=cpu", "device.precision=tf32").device.resolve()


def test_cuda_graphs_are_for_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    with pytest.raises(UserError, match=r"^device.cuda_graphs=true: only .* on cpu; use device.cuda_graphs=auto$"):
        settings("device=cpu", "device.cuda_graphs=true").device.resolve()
    for value, recorded in {"auto": True, "true": True, "false": False}.items():
        chosen = settings("device=cuda", f"device.cuda_graphs={value}").device
        assert chosen.resolve() == cuda
        assert chosen.records(cuda) == recorded
        assert not chosen.records(cpu)


@pytest.mark.parametrize(("precision", "tf32"), [("float32", False), ("tf32", True)])
def test_switches_are_set_for_a_run_and_put_back(precision: str, tf32: bool) -> None:
    def now() -> tuple[object, ...]:
        return (
            torch.get_float32_matmul_precision(),
            torch.backends.cudnn.allow_tf32,
            torch.are_deterministic_algorithms_enabled(),
        )

    before = now()
    with settings(f"device.precision={precision}", "device.deterministic=true").device.arithmetic():
        assert now() == ("high" if tf32 else "highest", tf32, True)
    assert now() == before


def test_nondeterministic_operation_is_refused() -> None:
    told = "put_ does not have a deterministic implementation, but you set 'x'. You can turn it off"
    with (
        pytest.raises(UserError, match=r"^device.deterministic=true: put_ does not have .*device.deterministic=false$"),
        settings("device.deterministic=true").device.arithmetic(),
    ):
        raise RuntimeError(told)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("supported", [False, True])
@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_bf16_on_a_processor_without_it_is_advised_against(
    precision: str, supported: bool, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_has_bfloat16", lambda: supported)
    advice = made(name, precision, None).advice(torch.device(name))
    if precision == "bf16" and name == "cpu" and not supported:
        assert advice is not None
        assert advice.startswith("device.precision=bf16: this processor has no instructions for bfloat16")
        assert advice.endswith("use device.precision=float32")
    else:
        assert advice is None


def test_bfloat16_support_is_that_of_pytorch() -> None:
    assert module._has_bfloat16() in (False, True)
