"""How much there is to do in a computation."""

import pytest
import torch
import torch.nn.functional as F
from builders import CPU, MLP, build, settings
from torch import Tensor

from metarun.engine.compile import workload as module
from metarun.engine.compile.workload import Workload, workload
from metarun.engine.evaluation import Evaluator
from metarun.engine.meta_gradient import MetaGradient


def test_operations_bytes_and_products_are_counted() -> None:
    def computation(x: Tensor, w: Tensor) -> Tensor:
        return (x @ w).view(-1) + 1

    found = workload(computation, torch.zeros(3, 4), torch.zeros(4, 5))
    assert found == Workload(operations=3, bytes=2 * 4 * 15, flops=2 * 3 * 4 * 5)


@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_of_convolutions_take_as_much_as_these(groups: int) -> None:
    """2·n·h·w·k²·(channels in of a group)·(channels out), thrice: forward, for the input, for the weight."""
    x, weight = torch.zeros(2, 4, 5, 5, requires_grad=True), torch.zeros(6, 4 // groups, 3, 3, requires_grad=True)

    def computation(x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(F.conv2d(x, weight, padding=1, groups=groups).sum(), (x, weight))

    assert workload(computation, x, weight).flops == 3 * 2 * 2 * 25 * 9 * (4 // groups) * 6


def test_nothing_is_carried_out() -> None:
    with torch._subclasses.FakeTensorMode():
        huge = torch.zeros(2**45)
    assert workload(lambda x: x + 1, huge) == Workload(operations=1, bytes=4 * 2**45, flops=0)


def test_counting_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 10)

    def computation(x: Tensor) -> Tensor:
        for _ in range(1000):
            x = x + 1
        return x

    assert workload(computation, torch.zeros(1)) == Workload(operations=10, bytes=40, flops=0)


def test_tasks_enlarge_operations_and_steps_add_operations() -> None:
    dataset = settings("dataset=sinusoid").dataset.load(0, CPU, torch.float64)

    def found(steps: int, tasks: int, evaluated: bool) -> Workload:
        learner, phi = build(
            dataset, "dataset=sinusoid", *MLP, f"algorithm.inner_steps={steps}", f"algorithm.test_steps={steps}"
        )
        if evaluated:
            evaluator = Evaluator(learner)
            return workload(lambda batch: evaluator.curves(phi, batch, whole=True), dataset.sample("test", 0, tasks))
        return workload(MetaGradient(learner, None, compiled=False), phi, dataset.sample("train", 0, tasks))

    for evaluated in (False, True):
        few, many, long = found(2, 4, evaluated), found(2, 8, evaluated), found(8, 4, evaluated)
        assert many.operations == few.operations
        assert many.flops == 2 * few.flops
        assert many.bytes == pytest.approx(2 * few.bytes, rel=0.05)
        assert long.operations > 2.5 * few.operations
