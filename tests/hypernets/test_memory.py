"""Refusing what would not fit."""

import pytest
import torch
from networks import MAKING, config, mlp, small, theta_of

from metarun.core.errors import UserError
from metarun.hypernets import memory
from metarun.hypernets.memory import refuse_if_too_large
from metarun.models.base import Parameters, count

CPU = torch.device("cpu")
GIB = 2**30


def large() -> Parameters:
    """Ten million numbers that take no memory."""
    return {"head.weight": torch.empty(1000, 10_000, device="meta"), "head.bias": torch.empty(1000, device="meta")}


def refusal(monkeypatch: pytest.MonkeyPatch, there: int | None, option: str = "full", tasks: int = 4) -> str:
    """What is said; nothing where it fits."""
    monkeypatch.setattr(memory, "available", lambda device: there)
    try:
        refuse_if_too_large(config(option), option, 32, large(), tasks, torch.float32, CPU)
    except UserError as error:
        return str(error)
    return ""


def test_large_hypernetwork_is_refused_with_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    # 64 weights and a bias for each of 10,001,000 numbers, and the trunk; seven times, of four bytes.
    numbers = 65 * 10_001_000 + 33 * 64 + 65 * 64
    assert refusal(monkeypatch, 3 * GIB) == (
        f"hypernet=full: its {numbers:,} parameters need at least 17.2 GiB of memory to train, and 3.0 GiB are free on "
        "cpu; hypernet=chunked (0.3 GiB) or hypernet=lowrank (0.4 GiB) would fit"
    )
    assert refusal(monkeypatch, 18 * GIB) == ""
    assert refusal(monkeypatch, None) == ""


def test_only_fitting_hypernetworks_are_suggested(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "; hypernet=chunked (0.3 GiB) would fit" in refusal(monkeypatch, int(0.35 * GIB))
    assert refusal(monkeypatch, int(0.1 * GIB)).endswith("fewer tasks at once (engine.task_chunk)")
    assert "; hypernet=chunked (0.3 GiB) would fit" in refusal(monkeypatch, int(0.35 * GIB), "lowrank")


def test_tasks_computed_at_once_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(monkeypatch, GIB, "lowrank", tasks=4) == ""
    # 16 times 10,001,000 numbers and their gradients, of four bytes: 1.2 GiB more.
    assert "need at least 1.3 GiB" in refusal(monkeypatch, GIB, "lowrank", tasks=16)


@pytest.mark.parametrize("delta", [True, False])
@pytest.mark.parametrize("option", MAKING)
def test_the_count_is_that_of_the_built_network(option: str, delta: bool) -> None:
    theta = theta_of(mlp("batch"))
    chosen = small(option, delta=delta)
    built = chosen.build(5, theta)
    numbers, need = memory.needed(chosen, 5, theta, 3, torch.float64)
    assert numbers == count(dict(built.named_parameters()))
    made = sum(theta[name].numel() for name in built.generated)
    assert need == 8 * (7 * numbers + 2 * 3 * made)


@pytest.mark.parametrize("option", memory.SMALLER)
def test_advice_is_on_the_settings_of_the_file(option: str) -> None:
    assert memory.usual(option) == config(option)


def test_no_hypernetwork_is_never_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(monkeypatch, 0, "none") == ""
