"""What holds of every embedding."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from builders import settings
from task_embeddings import IMAGES, NUMBERS, built, one, rows, tasks
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from metarun.core.errors import UserError
from metarun.core.tasks import Examples
from metarun.embeddings.base import EmbeddingInputs
from metarun.models.base import Parameters
from metarun.setup.check import check

OF_SUPPORT = [
    ("support", {"pooling": "mean"}),
    ("support", {"pooling": "attention"}),
    ("fisher", {"learn_probe": True}),
    ("fisher", {"learn_probe": False}),
]
EVERY = [*OF_SUPPORT, ("learned", {"fit_steps": 5}), ("descriptor", {})]


def every(cases: list[Any]) -> Callable[..., Any]:
    """A test for each case, on images and on numbers."""
    ids = ["-".join([name, *(str(value) for value in changes.values())]) for name, changes in cases]
    shapes = pytest.mark.parametrize("shape", [IMAGES, NUMBERS], ids=["images", "numbers"])
    return lambda test: shapes(pytest.mark.parametrize(("option", "changes"), cases, ids=ids)(test))


def parameters(embedding: nn.Module) -> Parameters:
    return {name: parameter.detach() for name, parameter in embedding.named_parameters()}


def embed(embedding: nn.Module, phi: Parameters, seen: EmbeddingInputs, testing: bool = False) -> Tensor:
    """e_t, where that of a new task should be the mean of its labels."""

    def fit(e: Tensor) -> Tensor:
        return (e - (seen.labels * weight[:, None]).sum() / weight.sum()).square().sum()

    weight = torch.ones_like(seen.labels[:, 0]) if seen.support.mask is None else seen.support.mask
    return functional_call(embedding, phi, (seen, fit, testing))


@every(EVERY)
def test_batched_equals_looped(option: str, changes: dict[str, Any], shape: tuple[int, ...]) -> None:
    embedding, seen = built(option, shape, **changes), tasks(shape)
    phi = parameters(embedding)
    for testing in (False, True):
        some = seen if testing else seen._replace(identity=seen.identity.clamp(min=0))
        batched = vmap(lambda one, t=testing: embed(embedding, phi, one, t))(some)
        looped = torch.stack([embed(embedding, phi, one(some, number), testing) for number in range(4)])
        assert batched.shape == (4, 4)
        torch.testing.assert_close(batched, looped, rtol=0, atol=1e-10)


@every(EVERY)
def test_gradients_reach_every_parameter_batched_and_compiled(
    option: str, changes: dict[str, Any], shape: tuple[int, ...]
) -> None:
    embedding, seen = built(option, shape, **changes), tasks(shape)
    seen = seen._replace(identity=torch.tensor([0, 3, 1, 3]))
    phi = parameters(embedding)

    def total(phi: Parameters, seen: EmbeddingInputs) -> Tensor:
        return vmap(lambda one: embed(embedding, phi, one).sin().sum())(seen).sum()

    gradient = grad(total)(phi, seen)
    looped = grad(lambda phi: sum(embed(embedding, phi, one(seen, n)).sin().sum() for n in range(4)))(phi)
    torch.compiler.reset()
    compiled = torch.compile(grad(total), backend="eager", fullgraph=True, dynamic=False)(phi, seen)
    for name, slope in gradient.items():
        assert slope.isfinite().all()
        frozen = name.startswith("probe") and not changes["learn_probe"]
        assert bool(slope.any()) != frozen, name
        torch.testing.assert_close(looped[name], slope, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(compiled[name], slope, rtol=1e-7, atol=1e-9)


@every(EVERY)
def test_gradients_are_derivatives(option: str, changes: dict[str, Any], shape: tuple[int, ...]) -> None:
    """Against finite differences in one direction, for a task with padding."""
    embedding, seen = built(option, shape, **changes), one(tasks(shape), 1)
    phi = parameters(embedding)
    generator = torch.Generator().manual_seed(0)
    frozen = option == "fisher" and not changes["learn_probe"]
    way = {
        name: torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        * (0 if frozen and name.startswith("probe") else 1)
        for name, tensor in phi.items()
    }

    def at(step: float) -> Tensor:
        return embed(embedding, {name: tensor + step * way[name] for name, tensor in phi.items()}, seen).sin().sum()

    slope = grad(lambda phi: embed(embedding, phi, seen).sin().sum())(phi)
    told = sum((slope[name] * way[name]).sum() for name in phi)
    torch.testing.assert_close((at(1e-6) - at(-1e-6)) / 2e-6, told, rtol=1e-5, atol=1e-7)


@every(OF_SUPPORT)
def test_a_set_has_neither_order_nor_multiplicity(option: str, changes: dict[str, Any], shape: tuple[int, ...]) -> None:
    embedding, seen = built(option, shape, **changes), tasks(shape)
    phi, first = parameters(embedding), one(seen, 1)
    e = embed(embedding, phi, first)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    for same in (rows(first, order), rows(first, torch.cat((order, order)))):
        torch.testing.assert_close(embed(embedding, phi, same), e, rtol=0, atol=1e-9)
    straight = one(seen, 0)
    swap = torch.tensor([1, 0, 2, 3, 4, 5])
    turned = straight._replace(
        support=straight.support._replace(y=straight.support.y[swap]), labels=straight.labels[swap]
    )
    every_e = torch.stack([e, *(embed(embedding, phi, other) for other in (straight, turned))])
    assert torch.pdist(every_e).min() > 1e-6


@every(OF_SUPPORT)
def test_padding_is_ignored(option: str, changes: dict[str, Any], shape: tuple[int, ...]) -> None:
    embedding = built(option, shape, **changes)
    phi = parameters(embedding)
    padded = one(tasks(shape), 1)
    first = padded.support.rows(torch.arange(4))
    bare = padded._replace(support=Examples(first.x, first.y), labels=padded.labels[:4])
    e = embed(embedding, phi, padded)
    torch.testing.assert_close(embed(embedding, phi, bare), e, rtol=0, atol=1e-9)
    assert torch.equal(embed(embedding, phi, one(tasks(shape, content=9.0), 1)), e)
    slope, alone = (grad(lambda phi, s=s: embed(embedding, phi, s).sin().sum())(phi) for s in (padded, bare))
    for name in phi:
        torch.testing.assert_close(slope[name], alone[name], rtol=1e-7, atol=1e-9)


@every(EVERY)
def test_single_precision_is_near_double(option: str, changes: dict[str, Any], shape: tuple[int, ...]) -> None:
    embedding, seen = built(option, shape, **changes), one(tasks(shape), 1)
    e = embed(embedding, parameters(embedding), seen, testing=True)
    support = seen.support._replace(x=seen.support.x.float(), mask=seen.support.mask.float())
    y = support.y.float() if support.y.is_floating_point() else support.y
    single = EmbeddingInputs(support._replace(y=y), seen.labels.float(), seen.identity, seen.descriptor.float())
    made = embed(embedding, parameters(embedding.float()), single, testing=True)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made.double(), e, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("option", "key"),
    [
        *((option, "size") for option in ("support", "learned", "descriptor", "fisher")),
        *((option, "hidden") for option in ("support", "descriptor")),
        ("support", "heads"),
    ],
)
@pytest.mark.parametrize("value", [0, 1_000_001])
def test_an_embedding_of_nothing_or_of_more_than_fits_is_refused(option: str, key: str, value: int) -> None:
    plain = settings(f"embedding={option}").plain
    nodes = {**plain, "embedding": {**plain["embedding"], key: value}}
    expected = "an integer of at least 1 and at most 1000000 is expected"
    with pytest.raises(UserError, match=rf"^embedding\.{key}={value}: {expected}$"):
        check(nodes)


def test_none_is_empty() -> None:
    embedding = settings("embedding=none").embedding
    assert embedding.size == 0
    e = embed(embedding.build(None, None), {}, one(tasks(), 0))
    assert e.shape == (0,)
    assert e.dtype == torch.float64
