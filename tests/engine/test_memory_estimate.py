"""Estimates of memory."""

import pytest
import torch
from builders import CPU, MLP, build, settings
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metarun.core.errors import UserError
from metarun.engine.memory_estimate import ROOM, SHARE, as_memory_allows, fitting, peak
from metarun.engine.meta_gradient import MetaGradient

KILO = 1024


def test_peak_is_of_simultaneous_tensors() -> None:
    def computation(x: Tensor) -> Tensor:
        """Three tensors like x one after another, of which two live at a time."""
        y = x + 1
        y = y * 2
        return y - 3

    assert peak(computation, torch.zeros(KILO, dtype=torch.float64)) == 2 * 8 * KILO


def test_inputs_and_views_take_nothing() -> None:
    assert peak(lambda x: x.view(2, -1).T, torch.zeros(KILO)) == 0


@pytest.mark.parametrize(("tracked", "tensors"), [(True, 9), (False, 2)])
def test_what_is_kept_for_the_way_back_is_counted(tracked: bool, tensors: int) -> None:
    """Each of eight sines keeps its input."""

    def computation(x: Tensor) -> Tensor:
        x = x.clone().requires_grad_(tracked)
        for _ in range(8):
            x = x.sin()
        return x

    assert peak(computation, torch.zeros(KILO, dtype=torch.float64)) == tensors * 8 * KILO


def test_nothing_is_allocated_for_the_estimate() -> None:
    with torch._subclasses.FakeTensorMode():
        huge = torch.zeros(2**45)
    assert peak(lambda x: x + 1, huge) == 4 * 2**45


def test_a_meta_gradient_grows_with_tasks_and_inner_steps() -> None:
    dataset = settings("dataset=sinusoid").dataset.load(0, CPU, torch.float64)

    def needed(steps: int, tasks: int) -> int:
        learner, phi = build(dataset, "dataset=sinusoid", *MLP, f"algorithm.inner_steps={steps}")
        gradient = MetaGradient(learner, None, compiled=False)
        return peak(gradient, phi, dataset.sample("train", 0, tasks))

    assert needed(2, 8) == pytest.approx(2 * needed(2, 4), rel=0.3)
    assert needed(8, 4) > 2 * needed(2, 4)


@given(wanted=st.integers(1, 100), each=st.integers(1, 50), free=st.integers(0, 4000))
def test_parts_are_of_one_size_and_fit(wanted: int, each: int, free: int) -> None:
    def computation(x: Tensor) -> Tensor:
        return x + 1

    at_once = fitting(computation, lambda count: torch.zeros(count, each, dtype=torch.uint8), wanted, free)
    assert 1 <= at_once <= wanted
    assert at_once == 1 or at_once * each * ROOM <= SHARE * free
    parts = -(-wanted // at_once)
    assert parts * at_once - wanted < parts
    if free >= 2 * ROOM * wanted * each / SHARE:
        assert at_once == wanted


def test_where_free_memory_is_not_known_all_are_computed_at_once() -> None:
    assert fitting(lambda x: x, lambda count: torch.zeros(count), 7, None) == 7


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
)
def test_fewer_tasks_at_once_if_memory_runs_out(error: RuntimeError, caplog: pytest.LogCaptureFixture) -> None:
    def computation(at_once: int) -> str:
        if at_once > most:
            raise error
        return f"done with {at_once}"

    most = 4
    with caplog.at_level("INFO"):
        assert as_memory_allows(computation, 12) == ("done with 3", 3)
    assert "out of memory with 12 tasks at once: going on with 6" in caplog.text
    most = 0
    with pytest.raises(UserError, match=r"^out of memory with one task at a time; .*algorithm.recompute=true$"):
        as_memory_allows(computation, 12)


def test_other_errors_are_not_out_of_memory() -> None:
    def computation(at_once: int) -> None:
        raise RuntimeError("expected scalar type Float")

    with pytest.raises(RuntimeError, match=r"^expected scalar type Float$"):
        as_memory_allows(computation, 12)
