"""Task2Vec: the Fisher information of a probe network."""

import pytest
import torch
import torch.nn.functional as F
from task_embeddings import IMAGES, NUMBERS, built, kind_for, one, rows, tasks
from torch import Tensor
from torch.func import functional_call

from metarun.core.kinds import Classification, Regression, TaskKind
from metarun.core.tasks import Examples, PaddedExamples
from metarun.embeddings.fisher import diagonal_fisher, fitted_head, linear, profile
from metarun.models.base import Parameters
from metarun.models.normalization import Context


def examples(kind: TaskKind, n: int = 7, scale: float = 1.0) -> tuple[Tensor, PaddedExamples]:
    """Features ``[n, 4]``, two of which belong to no example, and the labels."""
    generator = torch.Generator().manual_seed(2)
    features = scale * torch.randn(n, 4, generator=generator, dtype=torch.float64)
    y = torch.arange(n).remainder(kind.outputs)
    if isinstance(kind, Regression):
        y = torch.randn(n, kind.outputs, generator=generator, dtype=torch.float64)
    mask = torch.ones(n, dtype=torch.float64)
    mask[-2:] = 0
    return features, PaddedExamples(features, y, mask)


def test_the_information_of_linear_regression_is_the_mean_square_of_its_inputs() -> None:
    x, support = examples(Regression(1))
    body = {"w": torch.zeros(4, dtype=torch.float64)}
    found = diagonal_fisher(lambda body, x: (x @ body["w"])[None], body, support, Regression(1))
    torch.testing.assert_close(found["w"], x[:5].square().mean(0))


def test_the_information_of_logistic_regression_is_its_variance() -> None:
    """p (1 - p) x² for two classes, whatever the labels."""
    x, support = examples(Classification(2))
    w = torch.tensor([0.3, -1.0, 0.5, 2.0]).double()

    def outputs(body: Parameters, x: Tensor) -> Tensor:
        score = x @ body["w"]
        return torch.stack((score, torch.zeros_like(score)))

    p = torch.sigmoid(x @ w)[:, None]
    found = diagonal_fisher(outputs, {"w": w}, support, Classification(2))
    torch.testing.assert_close(found["w"], (p * (1 - p) * x.square())[:5].mean(0))
    everything = diagonal_fisher(outputs, {"w": w}, Examples(x, support.y), Classification(2))
    torch.testing.assert_close(everything["w"], (p * (1 - p) * x.square()).mean(0))


def test_it_does_not_depend_on_how_much_is_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, seen = built("fisher", IMAGES), one(tasks(IMAGES), 1)
    e = encoder(seen, lambda e: e.sum(), False)
    for at_once in (1, 6, 12):
        monkeypatch.setattr("metarun.embeddings.fisher.AT_ONCE", at_once)
        torch.testing.assert_close(encoder(seen, lambda e: e.sum(), False), e)


@pytest.mark.parametrize("shape", [IMAGES, NUMBERS], ids=["images", "numbers"])
def test_fisher_embedding_equals_loops(shape: tuple[int, ...]) -> None:
    """The whole of it again, by loops: head, information of each weight, mean over each unit, logarithm, last layer."""
    encoder, seen = built("fisher", shape, head_steps=4), one(tasks(shape, padding=0), 0)
    kind, (x, y, _) = kind_for(shape), seen.support
    body = dict(encoder.probe.named_parameters())

    context = Context()
    fixed = functional_call(encoder.probe, body, (x, context)).detach()
    held = {name: tensor.detach() for name, tensor in context.running.items()}
    weight = torch.zeros(fixed.shape[1], kind.outputs, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(kind.outputs, dtype=torch.float64, requires_grad=True)
    rate = 0.5 / (1 + fixed.square().sum(1).mean())
    for _ in range(4):
        slopes = torch.autograd.grad(kind.loss(fixed @ weight + bias, y), (weight, bias))
        with torch.no_grad():
            weight -= rate * slopes[0]
            bias -= rate * slopes[1]

    information = [torch.zeros_like(tensor) for tensor in body.values()]
    for i in range(len(x)):
        for o in range(kind.outputs):
            features = functional_call(encoder.probe, body, (x[i : i + 1], Context(running=dict(held))))[0]
            out = features @ weight.detach() + bias.detach()
            told = F.log_softmax(out, 0)[o] if isinstance(kind, Classification) else out[o]
            share = out.softmax(0)[o].detach() if isinstance(kind, Classification) else 1.0
            for sum_, slope in zip(information, torch.autograd.grad(told, list(body.values())), strict=True):
                sum_ += share * slope.square() / len(x)
    units = torch.cat([tensor.reshape(len(tensor), -1).mean(1) for tensor in information]).detach()
    assert (units > 0).float().mean() > 0.5
    logs = torch.log(units / units.mean() + 1e-6)
    normal = (logs - logs.mean()) / (logs.var(correction=0) + 1e-5).sqrt()
    wanted = encoder.whole(torch.cat((normal, torch.log1p(units.mean())[None])))
    torch.testing.assert_close(encoder(seen, lambda e: e.sum(), False), wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", [Classification(3), Regression(2), Regression(1)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_head_is_fitted_for_any_scale_of_features(kind: TaskKind, scale: float) -> None:
    features, support = examples(kind, scale=scale)
    losses = []
    for steps in range(1, 30):
        head = fitted_head(features, support, kind, steps, 0.99)
        losses.append(kind.loss(linear(features, head), support.y, support.mask))
    assert torch.stack(losses).diff().max() < 1e-9
    assert losses[-1] < kind.loss(torch.zeros(7, kind.outputs).double(), support.y, support.mask)


def test_a_task_without_information_has_a_finite_embedding_and_gradient() -> None:
    """Targets that are all zero leave the head at zero, so that nothing depends on the body."""
    encoder, seen = built("fisher", learn_probe=True), one(tasks(), 0)
    silent = seen._replace(support=seen.support._replace(y=torch.zeros_like(seen.support.y)))
    for task in (silent, rows(silent, torch.tensor([0]))):
        e = encoder(task, lambda e: e.sum(), False)
        assert e.isfinite().all()
        e.sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


def test_profile_describes_distribution_and_amount_of_information() -> None:
    generator = torch.Generator().manual_seed(0)
    information = {
        "matrix": torch.rand(3, 4, generator=generator, dtype=torch.float64),
        "vector": torch.rand(5, generator=generator, dtype=torch.float64),
    }
    once, more = profile(information), profile({name: 100 * tensor for name, tensor in information.items()})
    assert once.shape == (9,)
    torch.testing.assert_close(more[:-1], once[:-1])
    assert more[-1] > once[-1]
    assert abs(float(once[:-1].mean())) < 1e-9


def test_a_task_model_without_a_head_has_a_probe_with_one() -> None:
    with_head, without = built("fisher", IMAGES), built("fisher", IMAGES, head=False)
    assert [name for name, _ in with_head.named_parameters()] == [name for name, _ in without.named_parameters()]
    seen = one(tasks(IMAGES), 0)
    assert without(seen, lambda e: e.sum(), False).isfinite().all()
    assert not any(name.startswith("probe.head") for name, _ in with_head.named_parameters())


def test_how_classes_are_numbered_does_not_matter() -> None:
    encoder, seen = built("fisher", IMAGES), one(tasks(IMAGES), 0)
    renamed = seen._replace(support=seen.support._replace(y=torch.tensor([2, 0, 1])[seen.support.y]))
    e, same = (encoder(task, lambda e: e.sum(), False) for task in (seen, renamed))
    torch.testing.assert_close(same, e)


def test_one_example_is_enough() -> None:
    encoder, seen = built("fisher", IMAGES), one(tasks(IMAGES, padding=0), 0)
    single = seen._replace(support=Examples(seen.support.x[:1], seen.support.y[:1]))
    assert encoder(single, lambda e: e.sum(), False).isfinite().all()
