"""Task networks: shapes, names and what they refuse."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from builders import settings
from torch import nn
from torch.func import functional_call

from metarun.core.errors import UserError
from metarun.core.inputs import InputSpec
from metarun.models.base import HEAD
from metarun.models.normalization import KINDS, BatchStatistics, Context


def config(name: str, **changes: Any) -> Any:
    return replace(settings(f"model={name}").model, **changes)


@pytest.mark.parametrize("normalization", KINDS)
@pytest.mark.parametrize(("name", "shape"), [("conv4", (1, 28, 28)), ("conv4", (3, 33, 20)), ("mlp", (1, 6, 5))])
def test_shapes(name: str, shape: tuple[int, ...], normalization: str) -> None:
    x = torch.randn(5, *shape)
    for readout in ("flatten", "mean") if name == "conv4" else (None,):
        changes = {"readout": readout, "channels": 6} if readout else {}
        made = config(name, normalization=normalization, **changes)
        assert made.build(InputSpec.of(shape), 7)(x, Context(3)).shape == (5, 7)
        features = made.build(InputSpec.of(shape), None)(x, Context(3))
        assert features.shape[0] == 5
        assert features.dim() == 2


@pytest.mark.parametrize(
    ("changes", "features"),
    [
        ({"downsample": "stride"}, 64 * 2 * 2),
        ({"downsample": "pool"}, 64),
        ({"downsample": "stride", "readout": "mean"}, 64),
        ({"downsample": "pool", "layers": 3}, 64 * 3 * 3),
    ],
)
def test_conv4_halves_the_image_in_every_block(changes: dict[str, Any], features: int) -> None:
    """Omniglot's 28 pixels: 14, 7, 4 and 2 by strides; 14, 7, 3 and 1 by pooling."""
    network = config("conv4", **changes).build(InputSpec.of((1, 28, 28)), 5)
    assert network.head.in_features == features


def test_conv4_has_the_published_size() -> None:
    """Finn et al.'s Omniglot network for 5 ways: 64 filters, the mean over space, 5 outputs."""
    network = config("conv4", readout="mean").build(InputSpec.of((1, 28, 28)), 5)
    weights = 9 * 64 + 3 * (9 * 64 * 64) + 4 * 2 * 64 + 5 * 65
    assert sum(parameter.numel() for parameter in network.parameters()) == weights


@pytest.mark.parametrize("normalization", KINDS)
@pytest.mark.parametrize("downsample", ["stride", "pool"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 33, 20)])
def test_conv4_is_a_stack_of_torch_s_convolutions(normalization: str, downsample: str, shape: tuple[int, ...]) -> None:
    """The first of them is computed as a product of matrices, and its normalization from moments of the images."""
    network = config("conv4", normalization=normalization, downsample=downsample, layers=2, channels=5)
    network = network.build(InputSpec.of(shape), 7).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    x, parts = torch.randn(6, *shape, dtype=torch.float64), dict(network.named_children())
    wanted = x
    for layer, norm in zip(parts["layers"], parts["norms"], strict=True):
        wanted = norm(layer(wanted), Context(4)).relu()
        wanted = torch.nn.functional.max_pool2d(wanted, 2) if downsample == "pool" else wanted
    torch.testing.assert_close(network(x, Context(4)), parts["head"](wanted.flatten(1)), rtol=0, atol=1e-10)


def test_no_bias_before_normalization() -> None:
    for kind in KINDS:
        names = dict(config("conv4", normalization=kind).build(InputSpec.of((1, 28, 28)), 5).named_parameters())
        assert ("layers.0.bias" in names) == (kind in ("group", "none"))


@pytest.mark.parametrize(("name", "shape"), [("conv4", (1, 28, 28)), ("mlp", (4,))])
def test_the_last_layers_parameters_are_the_head(name: str, shape: tuple[int, ...]) -> None:
    made = config(name, normalization="batch")
    with_head = [n for n, _ in made.build(InputSpec.of(shape), 5).named_parameters()]
    assert [n for n in with_head if n.startswith(HEAD)] == ["head.weight", "head.bias"] == with_head[-2:]
    without = [n for n, _ in made.build(InputSpec.of(shape), None).named_parameters()]
    assert without == with_head[:-2]


@pytest.mark.parametrize(("name", "shape"), [("conv4", (1, 28, 28)), ("mlp", (4,))])
def test_layers_with_statistics_have_unique_names(name: str, shape: tuple[int, ...]) -> None:
    network: nn.Module = config(name, normalization="running").build(InputSpec.of(shape), 5)
    layers = [module for module in network.modules() if isinstance(module, BatchStatistics)]
    context = Context()
    network(torch.randn(3, *shape), context)
    assert len(context.running) == len(layers) == len({layer.name for layer in layers})


@pytest.mark.parametrize(
    ("name", "changes", "shape", "message"),
    [
        ("conv4", {}, (1,), r"model=conv4: needs images, .* shape \(1,\); use model=mlp"),
        ("conv4", {"downsample": "pool", "layers": 5}, (1, 28, 28), r"model\.layers=5: 28x28 .* halved 4 times"),
        ("mlp", {"hidden": []}, (1,), r"model\.hidden=\[\]: give at least one layer"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, changes: dict[str, Any], shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(name, **changes).build(InputSpec.of(shape), 5)


@pytest.mark.parametrize(
    ("name", "key", "value", "expected"),
    [
        ("mlp", "hidden", "[4,0]", "a list of integers of at least 1 and at most 1000000"),
        ("mlp", "hidden", "[4,1000001]", "a list of integers of at least 1 and at most 1000000"),
        ("conv4", "channels", "1000001", "an integer of at least 1 and at most 1000000"),
    ],
)
def test_a_layer_of_no_units_or_of_more_than_fit_is_refused(name: str, key: str, value: str, expected: str) -> None:
    with pytest.raises(UserError) as refusal:
        settings(f"model={name}", f"model.{key}={value}")
    assert str(refusal.value) == f"model.{key}={value}: {expected} is expected"


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_an_mlp_is_its_layers_and_its_activation(activation: str) -> None:
    network = settings("model=mlp", "model.hidden=[5,4]", f"model.activation={activation}").model.build(
        InputSpec.of((3,)), 2
    )
    x = torch.randn(6, 3)
    first, second = network.layers
    function = getattr(torch, activation)
    torch.testing.assert_close(network(x, Context()), network.head(function(second(function(first(x))))))


def test_contexts_are_further_inputs_of_a_perceptron() -> None:
    torch.manual_seed(0)
    network = config("mlp", hidden=[5]).build(InputSpec.of((3,)), 2, contexts=2)
    assert network.context.tolist() == [0, 0]
    x, c = torch.randn(4, 3), torch.randn(2)
    wide = config("mlp", hidden=[5]).build(InputSpec.of((5,)), 2)
    wide.load_state_dict({name: tensor for name, tensor in network.state_dict().items() if name != "context"})
    found = functional_call(network, {**dict(network.named_parameters()), "context": c}, (x, Context()))
    torch.testing.assert_close(found, wide(torch.cat((x, c.expand(4, 2)), 1), Context()))


@pytest.mark.parametrize(("layers", "block"), [(1, 0), (2, 1), (4, 2)])
def test_contexts_scale_and_shift_the_third_block_or_the_last(layers: int, block: int) -> None:
    """FiLM behind a normalization is a normalization with another gain and shift."""
    torch.manual_seed(0)
    network = config("conv4", channels=3, layers=layers).build(InputSpec.of((1, 16, 16)), 2, contexts=5)
    x, theta = torch.randn(4, 1, 16, 16), {**dict(network.named_parameters()), "context": torch.randn(5)}
    scale, shift = (theta["modulation.weight"] @ theta["context"] + theta["modulation.bias"]).split(3)
    gain, bias = f"norms.{block}.weight", f"norms.{block}.bias"
    plain = config("conv4", channels=3, layers=layers).build(InputSpec.of((1, 16, 16)), 2)
    same = {name: theta[name] for name, _ in plain.named_parameters()}
    same |= {gain: theta[gain] * (1 + scale), bias: theta[bias] * (1 + scale) + shift}
    found, wanted = functional_call(network, theta, (x, Context())), functional_call(plain, same, (x, Context()))
    torch.testing.assert_close(found, wanted)
