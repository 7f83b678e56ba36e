"""The benchmark runs, and compares before it times."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from metarun.engine.meta_gradient import MetaGradient

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_plain_loop_equals_metarun(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    done = benchmark("--quick", "--only=sine-1", "--variants=loop,eager", "--threads=1", f"--json={file}")
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    (row,) = content["rows"]
    assert (row["row"], row["tasks"]) == ("sine-1", 25)
    assert set(row["variants"]) == {"loop", "eager"}
    for of in row["variants"].values():
        assert of["fault"] is None
        assert 0 < of["least"] <= of["median"] <= of["most"]
        assert len(of["seconds"]) >= 2
    assert 0 < row["variants"]["eager"]["difference"] < 1e-6
    assert 0 < row["variants"]["loop"]["difference"] < 1e-6
    assert row["loop_over_best"] == row["variants"]["loop"]["median"] / row["variants"]["eager"]["median"]
    assert row["floor"]["float32"] == row["operations"] / content["floor"]["float32"]
    assert content["machine"]["torch"]
    assert "| sine, 10 shots, 25 tasks, 1 step | " in done.stdout
    assert "loop: meta-gradients within " in done.stdout


@pytest.mark.parametrize("arguments", [("--only=sine-9",), ("--variants=loop,lop",), ("--repeats=0",)])
def test_unknown_arguments_are_refused(arguments: tuple[str]) -> None:
    done = benchmark(*arguments)
    assert done.returncode == 2
    assert arguments[0].partition("=")[0] in done.stderr


@pytest.fixture
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))


@pytest.mark.usefixtures("_scripts")
def test_the_operations_of_a_row_are_those_of_its_layers() -> None:
    from benchmarks import floor, rows

    # Without inner steps: 10 queries, forward (1, 2·(40 + 40·40 + 40) each), by weights, and by inputs but the first's.
    forward = 2 * 10 * (40 + 40 * 40 + 40)
    row = replace(rows.BY_NAME["sine-1"], inner_steps=0)
    assert floor.operations(row) == 25 * (3 * forward - 2 * 10 * 40)


class Worker:
    """One whose meta-gradient is as given; ``None``: it fails."""

    gradients: ClassVar[dict[str, float | None]]

    def __init__(self, asked: dict[str, Any]) -> None:
        self.gradient = self.gradients[asked["variant"]]
        if self.gradient is not None:
            np.savez(asked["gradient"], weight=np.full(3, self.gradient))

    def answer(self, patience: float) -> dict[str, float]:
        from benchmarks import measuring

        if self.gradient is None:
            raise measuring.Fault("out of memory")
        return {"first": 2.0, "mib": 3.0}

    def turn(self) -> list[float]:
        return [1.0]

    def end(self) -> None:
        return


@pytest.mark.usefixtures("_scripts")
@pytest.mark.parametrize(
    ("gradients", "timed"),
    [
        ({"eager": 1.0, "loop": 1.002, "higher": 1.0005, "bf16": 1.002}, {"eager", "higher", "bf16"}),
        ({"eager": 1.003, "loop": 1.005, "higher": 1.007}, {"eager", "loop"}),  # at most twice as far as eager
        ({"eager": 1.5, "loop": 1.019, "higher": 1.03}, {"loop"}),  # which may itself be wrong
        ({"eager": None, "loop": 1.0005, "higher": 1.002}, {"loop"}),
        ({"float64": None, "eager": 1.0, "loop": 1.0}, set()),
        ({"eager": 1.0, "loop": float("nan"), "bf16": 2.0}, {"eager"}),
    ],
)
def test_wrong_variant_is_reported_and_not_timed(
    gradients: dict[str, float | None], timed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import measuring, rows

    monkeypatch.setattr(measuring, "Worker", Worker)
    monkeypatch.setattr(Worker, "gradients", {"float64": 1.0, **gradients}, raising=False)
    variants = [name for name in gradients if name != "float64"]
    found = measuring.measured(rows.BY_NAME["sine-1"], variants, measuring.How("cpu", 1, 2, 0.1))
    assert {name: len(of.seconds) for name, of in found.items()} == {name: 2 * (name in timed) for name in variants}
    assert {name for name, of in found.items() if of.fault is None} == timed
    if "float64" in gradients:
        assert found["loop"].fault == "float64, with which to compare, failed: out of memory"


@pytest.mark.usefixtures("_scripts")
@pytest.mark.parametrize(("name", "tasks"), [("sine-5", 3), ("omniglot-1", 2), ("color-5shot", 1)])
def test_in_double_precision_the_plain_loop_agrees_to_rounding(name: str, tasks: int) -> None:
    from benchmarks import plain_loop, problem, rows

    row = replace(rows.BY_NAME[name], tasks=tasks, shots=1, ways=min(2, rows.BY_NAME[name].ways))
    looped = plain_loop.looped(row, CPU, "float64")()
    learner, phi = problem.learner(row, CPU, "float64")
    gradient, _ = MetaGradient(learner, None, compiled=False)(phi, problem.made_up(row, CPU, torch.float64))
    for name, tensor in gradient["theta"].items():
        torch.testing.assert_close(looped[f"theta.{name}"], tensor, rtol=1e-8, atol=1e-9)


@pytest.mark.usefixtures("_scripts")
@pytest.mark.parametrize(("seconds_of_smallest", "size"), [(1e-9, 2048), (1e-3, 512), (1.0, 128)])
def test_floor_is_measured_in_limited_time(
    seconds_of_smallest: float, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """18 products, each size 8 times as long as the one before; within 2 seconds where the smallest allows it."""
    from benchmarks import floor

    measured: list[int] = []

    def product(size: int, dtype: torch.dtype, device: torch.device) -> float:
        measured.append(size)
        return seconds_of_smallest * (size / 128) ** 3

    monkeypatch.setattr(floor, "_median_of_products", product)
    rate = floor.rate(torch.bfloat16, CPU, seconds=2.0)
    assert rate == pytest.approx(2 * 128**3 / seconds_of_smallest)
    assert measured[-1] == size
