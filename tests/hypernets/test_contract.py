"""What holds for every hypernetwork, every choice of layers and every kind of network."""

from pathlib import Path

import pytest
import torch
from networks import (
    CONF,
    EMBEDDING,
    MAKING,
    NETWORKS,
    config,
    inputs_of,
    mlp,
    output,
    parameters,
    small,
    start,
    theta_of,
)
from torch import Tensor, nn
from torch.func import grad, vmap

from metarun.core.errors import UserError
from metarun.hypernets.generating import CHOICES
from metarun.models.base import Parameters

LAYERS = {
    "all": lambda name: True,
    "head": lambda name: name.startswith("head."),
    "body": lambda name: name.startswith(("layers.", "norms.")),
    "normalization": lambda name: name.startswith("norms."),
}
COMBINATIONS = [
    pytest.param(option, delta, layers, network, id=f"{option}-{'delta' if delta else 'outright'}-{layers}-{network}")
    for option in MAKING
    for delta in (True, False)
    for layers in CHOICES
    for network in NETWORKS
    if layers != "normalization" or "with" in network
]
EVERY = [*((option, delta) for option in MAKING for delta in (True, False)), ("none", True)]


def built(option: str, delta: bool, layers: str, network: str) -> tuple[nn.Module, nn.Module, Parameters]:
    torch.manual_seed(0)
    model = NETWORKS[network]()
    theta = theta_of(model)
    changes = {} if option == "none" else {"delta": delta, "layers": layers}
    hypernet = (config if option == "none" else small)(option, **changes).build(EMBEDDING, theta).double()
    return hypernet, model, theta


def embeddings(n: int = 3) -> Tensor:
    return torch.randn(n, EMBEDDING, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_all_files_are_tested() -> None:
    assert {Path(file).stem for file in CONF.glob("*.yaml")} == {*MAKING, "none"}


@pytest.mark.parametrize(("option", "delta", "layers", "network"), COMBINATIONS)
def test_generated_tensors_are_those_declared(option: str, delta: bool, layers: str, network: str) -> None:
    hypernet, _, theta = built(option, delta, layers, network)
    phi = parameters(hypernet, moved=0.3)
    one, other = (start(hypernet, phi, theta, embedding) for embedding in embeddings(2))
    assert [(name, tensor.shape) for name, tensor in one.items()] == [(n, t.shape) for n, t in theta.items()]
    assert {name for name in theta if not torch.equal(one[name], other[name])} == hypernet.generated
    assert all(torch.equal(one[name], theta[name]) for name in theta.keys() - hypernet.generated)
    assert all(map(LAYERS[layers], hypernet.generated))
    if option != "film":  # which changes one tensor or two of every layer chosen
        assert hypernet.generated == set(filter(LAYERS[layers], theta))
        assert hypernet.shared == (theta.keys() if delta else theta.keys() - hypernet.generated)


@pytest.mark.parametrize(
    ("option", "layers", "network"),
    [pytest.param(*case.values[::2], case.values[3], id=case.id) for case in COMBINATIONS if case.values[1]],
)
def test_with_delta_every_task_starts_exactly_at_theta_0(option: str, layers: str, network: str) -> None:
    """And yet there is a gradient by which every tensor can move."""
    hypernet, _, theta = built(option, True, layers, network)
    phi = parameters(hypernet)
    for embedding in embeddings():
        made = start(hypernet, phi, theta, embedding)
        assert all(torch.equal(made[name], theta[name]) for name in theta)

    def towards_larger(phi: Parameters, name: str) -> Tensor:
        return start(hypernet, phi, theta, embeddings()[0])[name].sum()

    for name in hypernet.generated:
        gradient = grad(towards_larger)(phi, name)
        assert max(float(tensor.abs().max()) for tensor in gradient.values()) > 1e-3


@pytest.mark.parametrize(("option", "delta"), EVERY)
@pytest.mark.parametrize("network", ["mlp", "conv4 with batch"])
def test_every_parameter_is_of_use(option: str, delta: bool, network: str) -> None:
    hypernet, model, theta = built(option, delta, "all", network)

    def loss(phi: Parameters) -> Tensor:
        made = start(hypernet, phi, theta, embeddings()[0])
        return output(model, made, inputs_of(model)).pow(3).mean()

    gradient = grad(loss)(parameters(hypernet, moved=0.3))
    assert [name for name, tensor in gradient.items() if not tensor.any()] == []


@pytest.mark.parametrize("network", ["mlp with batch", "conv4"])
@pytest.mark.parametrize(("option", "delta"), EVERY)
def test_batched_tasks_equal_single_ones_to_the_second_derivative(option: str, delta: bool, network: str) -> None:
    """An inner step from what is made for each task, and the meta-gradient of the loss after it."""
    hypernet, model, theta = built(option, delta, "all", network)
    x = inputs_of(model)

    def after_a_step(phi: Parameters, theta: Parameters, embedding: Tensor) -> Tensor:
        made = start(hypernet, phi, theta, embedding)
        slope = grad(lambda at: output(model, at, x).square().mean())(made)
        return output(model, {name: made[name] - 0.1 * slope[name] for name in made}, x).pow(3).mean()

    phi = parameters(hypernet, moved=0.3)
    tasks = embeddings()

    def looped(phi: Parameters, theta: Parameters) -> Tensor:
        return torch.stack([after_a_step(phi, theta, embedding) for embedding in tasks]).sum()

    def batched(phi: Parameters, theta: Parameters) -> Tensor:
        return vmap(after_a_step, in_dims=(None, None, 0))(phi, theta, tasks).sum()

    wanted, found = (grad(of, argnums=(0, 1))(phi, theta) for of in (looped, batched))
    for one, other in zip(wanted, found, strict=True):
        for name in one:
            torch.testing.assert_close(other[name], one[name], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("option", "delta"), EVERY)
def test_it_can_be_compiled_whole(option: str, delta: bool) -> None:
    hypernet, model, theta = built(option, delta, "all", "mlp with batch")
    x, phi = inputs_of(model), parameters(hypernet, moved=0.3)
    shared = {name: tensor for name, tensor in theta.items() if name in hypernet.shared}

    def total(phi: Parameters, tasks: Tensor) -> Tensor:
        def loss(embedding: Tensor) -> Tensor:
            made = torch.func.functional_call(hypernet, phi, (shared, embedding))
            slope = grad(lambda at: output(model, at, x).square().mean())(made)
            return output(model, {name: made[name] - 0.1 * slope[name] for name in made}, x).square().mean()

        return vmap(loss)(tasks).sum()

    torch.compiler.reset()
    compiled = torch.compile(grad(total), backend="aot_eager", fullgraph=True)(phi, embeddings())
    eager = grad(total)(phi, embeddings())
    for name in eager:
        torch.testing.assert_close(compiled[name], eager[name], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("option", MAKING)
@pytest.mark.parametrize("delta", [True, False])
def test_single_precision_stays_single(option: str, delta: bool) -> None:
    theta = theta_of(mlp("batch"), torch.float32)
    hypernet = small(option, delta=delta).build(EMBEDDING, theta)
    made = hypernet(theta, torch.randn(EMBEDDING))
    assert {tensor.dtype for tensor in made.values()} == {torch.float32}


@pytest.mark.parametrize("option", MAKING)
def test_missing_layers_are_refused(option: str) -> None:
    theta = theta_of(mlp("none"))
    told = r"hypernet\.layers=normalization: .* set hypernet\.layers=all \(head, body are also possible\)$"
    with pytest.raises(UserError, match=told):
        small(option, layers="normalization").build(EMBEDDING, theta)
    features = {name: tensor for name, tensor in theta.items() if not name.startswith("head")}
    with pytest.raises(
        UserError, match=r"hypernet\.layers=head: .* set hypernet\.layers=all \(body are also possible\)$"
    ):
        small(option, layers="head").build(EMBEDDING, features)


@pytest.mark.parametrize("option", MAKING)
def test_a_trunk_without_layers_is_refused(option: str) -> None:
    with pytest.raises(UserError, match=r"hypernet\.hidden=\[\]: give at least one layer"):
        small(option, hidden=[]).build(EMBEDDING, theta_of(mlp()))


def test_without_a_hypernetwork_every_task_starts_at_theta_0_itself() -> None:
    theta = theta_of(mlp())
    shared = config("none").build(0, theta)
    assert shared(theta, torch.zeros(0)) == theta
    assert (shared.shared, shared.generated, parameters(shared)) == (theta.keys(), set(), {})
