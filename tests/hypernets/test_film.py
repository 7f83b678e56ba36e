"""The hypernetwork that scales and shifts features."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from networks import EMBEDDING, NETWORKS, conv4, inputs_of, mlp, output, parameters, small, start, theta_of
from torch import Tensor, nn

from metarun.models.base import Parameters

LAYERS = ("all", "head", "body", "normalization")


def along_channels(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.dim() - 2))


def modulated(network: nn.Module, scales: dict[str, Tensor], shifts: dict[str, Tensor]) -> list[Any]:
    """Hooks by which a layer's output h becomes ``h·scale + shift`` before its non-linearity."""
    hooks = []
    for weight, scale in scales.items():
        place = network.head if weight.startswith("head.") else network.norms[int(weight.split(".")[1])]

        def hook(_: nn.Module, __: Any, h: Tensor, weight: str = weight, scale: Tensor = scale) -> Tensor:
            return h * along_channels(scale, h) + along_channels(shifts[weight], h)

        hooks.append(place.register_forward_hook(hook))
    return hooks


def neutral(theta: Parameters, weights: Iterable[str]) -> Parameters:
    """θ₀ without the gains and shifts that are made outright in the place of its own."""
    changed = dict(theta)
    for weight in weights:
        bias = weight.removesuffix("weight") + "bias"
        changed[bias] = torch.zeros_like(theta[bias])
        if theta[weight].dim() == 1:
            changed[weight] = torch.ones_like(theta[weight])
    return changed


@pytest.mark.parametrize("delta", [True, False])
@pytest.mark.parametrize(
    ("name", "layers"),
    [(name, layers) for name in NETWORKS for layers in LAYERS if layers != "normalization" or "with" in name],
)
def test_changing_parameters_is_changing_features(name: str, layers: str, delta: bool) -> None:
    """h(1+γ) + b on what every layer feeds to its ReLU, and on the head's output."""
    torch.manual_seed(0)
    network = NETWORKS[name]().double()
    theta = theta_of(network)
    hypernet = small("film", layers=layers, delta=delta).build(EMBEDDING, theta).double()
    hypernet.load_state_dict(parameters(hypernet, moved=0.3))
    embedding, x = torch.randn(EMBEDDING, dtype=torch.float64), inputs_of(network)

    hidden = hypernet.trunk(embedding)
    scales = {head.replace("/", "."): made(hidden) for head, made in hypernet.scales.items()}
    shifts = {head.replace("/", "."): made(hidden) for head, made in hypernet.shifts.items()}
    if delta:
        scales = {weight: 1 + gamma for weight, gamma in scales.items()}
    expected_layers = {"all": 3, "head": 1, "body": 2, "normalization": 2}
    assert len(scales) == len(shifts) == expected_layers[layers]

    found = output(network, start(hypernet, dict(hypernet.named_parameters()), theta, embedding), x)
    hooks = modulated(network, scales, shifts)
    expected = output(network, theta if delta else neutral(theta, scales), x)
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, output(network, theta, x), atol=1e-3)


def test_outright_weights_stay_shared_and_scales_start_at_one() -> None:
    for network in (mlp(), mlp("batch"), conv4("group")):
        theta = theta_of(network)
        hypernet = small("film", delta=False).build(EMBEDDING, theta)
        assert {name for name in theta if name.startswith(("layers", "head")) and name.endswith("weight")} <= (
            hypernet.shared
        )
        made = start(hypernet, parameters(hypernet), theta, torch.randn(EMBEDDING, dtype=torch.float64))
        for name in theta:
            if name.startswith("norms.") and name.endswith("weight"):
                assert name not in hypernet.shared
                assert torch.equal(made[name], torch.ones_like(made[name]))
            elif name.endswith("weight"):
                assert torch.equal(made[name], theta[name])


def test_a_layer_without_a_bias_is_only_scaled() -> None:
    theta = {"head.weight": torch.randn(3, 4, dtype=torch.float64)}
    hypernet = small("film").build(EMBEDDING, theta)
    made = start(hypernet, parameters(hypernet, moved=0.3), theta, torch.randn(EMBEDDING, dtype=torch.float64))
    ratio = made["head.weight"] / theta["head.weight"]
    torch.testing.assert_close(ratio, ratio[:, :1].expand(3, 4))
    assert made.keys() == theta.keys()
