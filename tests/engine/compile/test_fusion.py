"""Compiling: a graph is taken again where, and only where, it is the right one."""

import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from metarun.engine.compile.fusion import compiled_whole


@pytest.fixture(autouse=True)
def forgotten() -> None:
    torch.compiler.reset()


def test_closures_are_compiled_separately() -> None:
    def times(factor: float) -> Callable[[Tensor], Tensor]:
        return compiled_whole(lambda x: factor * x)

    double, triple = times(2.0), times(3.0)
    ones = torch.ones(3)
    for _ in range(2):
        assert double(ones).tolist() == [2, 2, 2]
        assert triple(ones).tolist() == [3, 3, 3]


def test_other_arguments_get_a_separate_graph() -> None:
    """Shapes, precision, and the names in a group of φ."""

    def total(phi: dict[str, Tensor], x: Tensor) -> Tensor:
        return sum((tensor * x).sum() for tensor in phi.values()) * len(phi)

    compiled = compiled_whole(total)
    before = counters["stats"]["unique_graphs"]
    for names, size, dtype, graphs in [
        ("a", 2, torch.float32, 1),
        ("a", 2, torch.float32, 1),
        ("a", 3, torch.float32, 2),
        ("a", 3, torch.float64, 3),
        ("ab", 3, torch.float64, 4),
        ("a", 2, torch.float32, 4),
    ]:
        phi = {name: torch.full((size,), 2.0, dtype=dtype) for name in names}
        found = compiled(phi, torch.ones(size, dtype=dtype))
        assert found.dtype == dtype
        assert found.item() == 2 * size * len(names) ** 2
        assert counters["stats"]["unique_graphs"] - before == graphs


def test_gradients_are_optional() -> None:
    compiled = compiled_whole(lambda x: (x * x).sum())
    x = torch.tensor([3.0], requires_grad=True)
    with torch.no_grad():
        assert not compiled(x).requires_grad
    (slope,) = torch.autograd.grad(compiled(x), x)
    assert slope.item() == 6


def test_the_compiler_s_advice_is_not_shown_and_other_warnings_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns of itself when it imports its compiler
        from torch._inductor import compile_fx
    whole = compile_fx.compile_fx

    def warning(*arguments: Any, **by_name: Any) -> Any:
        for module in ("torch._inductor.lowering", "torch.jit._script", "my_package.network"):
            warnings.warn_explicit(f"said by {module}", UserWarning, f"{module}.py", 1, module)
        return whole(*arguments, **by_name)

    monkeypatch.setattr(compile_fx, "compile_fx", warning)
    compiled = compiled_whole(lambda x: x + 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert compiled(torch.ones(2)).tolist() == [2, 2]
        warnings.warn_explicit("said later", UserWarning, "lowering.py", 1, "torch._inductor.lowering")
    # Inductor's function calls itself once it has set its options.
    assert {str(one.message) for one in caught} == {"said by my_package.network", "said later"}


def test_a_first_compilation_warns_of_nothing() -> None:
    """In a process of its own: PyTorch warns of itself when it imports its compiler."""
    code = "import torch; from metarun.engine.compile import fusion; fusion.compiled_whole(torch.sin)(torch.ones(3))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
