"""Recording computations as CUDA graphs, as far as it can be told without a GPU; see test_cuda.py."""

import pytest
import torch

from metarun.engine.compile.recording import Recorded, agree


def test_without_cuda_the_computation_is_unchanged() -> None:
    recorded = Recorded(lambda tree, factor: {"twice": factor * tree["x"]})
    for number in (1.0, 2.0):
        found = recorded({"x": torch.tensor(number)}, torch.tensor(2.0))
        assert found["twice"].item() == 2 * number
    assert not recorded.failed


@pytest.mark.parametrize(("error", "same"), [(1e-4, True), (0.1, False), (float("nan"), False)])
def test_results_agree_up_to_the_order_of_sums(error: float, same: bool) -> None:
    wanted = {"large": torch.full((4,), 100.0), "none": torch.zeros(3)}
    found = {"large": wanted["large"] * (1 + error), "none": wanted["none"] + 1e-6}
    assert agree(found, wanted) == same
