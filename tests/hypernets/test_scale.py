"""At its start, a network that is made whole keeps the scale of its activations, whatever the task."""

from functools import partial

import pytest
import torch
from networks import config, conv4, mlp
from torch import Tensor, nn
from torch.func import functional_call

from metarun.models.normalization import Context

OPTIONS = ("full", "chunked", "lowrank")
NETWORKS = {
    "mlp": (partial(mlp, hidden=(256,) * 5, inputs=256), (100, 256)),
    "narrow mlp": (partial(mlp, hidden=(40,) * 5, inputs=40), (100, 40)),
    "conv4": (partial(conv4, channels=32, layers=4, side=28), (30, 1, 28, 28)),
}


def sizes(network: nn.Module, hypernet: nn.Module, x: Tensor, size: int) -> list[float]:
    """Root mean square of what every hidden layer of a made network passes on, for one random task."""
    seen: list[float] = []
    hooks = [
        norm.register_forward_hook(lambda _, __, out: seen.append(float(out.relu().square().mean().sqrt())))
        for norm in network.norms
    ]
    with torch.no_grad():
        functional_call(network, hypernet({}, torch.randn(size)), (x, Context()))
    for hook in hooks:
        hook.remove()
    return seen


def scales(option: str, network: str, size: int = 32) -> Tensor:
    """``[seed, layer]``."""
    build, shape = NETWORKS[network]
    rows = []
    for seed in range(8):
        torch.manual_seed(seed)
        model = build()
        hypernet = config(option, delta=False).build(size, dict(model.named_parameters()))
        rows.append(sizes(model, hypernet, torch.randn(shape), size))
    return torch.tensor(rows)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("option", OPTIONS)
def test_activations_keep_unit_scale(option: str, network: str) -> None:
    found = scales(option, network)
    assert found.shape[1] >= 4
    assert found.min() > 0.5
    assert found.max() < 2


@pytest.mark.parametrize("option", OPTIONS)
def test_with_pytorchs_own_initialization_they_would_not(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def usual(width: int, outputs: int, std: float, mean: float = 0.0) -> nn.Linear:
        return nn.Linear(width, outputs)

    for module in ("heads", "chunked", "lowrank"):
        monkeypatch.setattr(f"metarun.hypernets.{module}.uniform_head", usual)
    # For `chunked` so that numbers are not scaled either.
    monkeypatch.setattr("metarun.hypernets.chunked.deviation", lambda tensor: 1.0)
    found = scales(option, "mlp").mean(0)
    assert not (found > 0.5).all() or not (found < 2).all()


def test_chunks_of_one_row_would_explode_without_their_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    def largest(unsigned: bool) -> float:
        torch.manual_seed(0)
        model = mlp(hidden=(256,) * 4, inputs=256)
        hypernet = config("chunked", delta=False, chunk=256).build(32, dict(model.named_parameters()))
        if unsigned:
            hypernet.signs.fill_(1)
        return max(sizes(model, hypernet, torch.randn(100, 256), 32))

    assert largest(unsigned=False) < 2
    assert largest(unsigned=True) > 4
