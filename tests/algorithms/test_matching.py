"""Matching networks against cosines written out in NumPy, full context embeddings against PyTorch's LSTM."""

from typing import Any

import numpy as np
import pytest
import torch
from builders import CONV, Blobs, build, looped, moved, padded, task_of, waves
from torch import Tensor, nn
from torch.func import functional_call

from metarun.algorithms.full_context import FullContext
from metarun.algorithms.matching import unit
from metarun.core.errors import UserError
from metarun.core.kinds import Classification
from metarun.core.tasks import AnyExamples, Examples, PaddedExamples, Task
from metarun.engine.meta_gradient import MetaGradient
from metarun.learner.learner import Learner, MetaParameters
from metarun.models.normalization import Context


def made(**changes: Any) -> tuple[Learner, MetaParameters, Task]:
    learner, phi = build(Blobs(), *CONV, "algorithm=matching", "model.normalization=none", **changes)
    return learner, moved(phi), task_of(Blobs().sample("train", 0, 1), 0)


def predicted(learner: Learner, phi: MetaParameters, support: AnyExamples, x: Tensor) -> Tensor:
    state = learner.algorithm.initial_state(phi["algorithm"], phi["theta"])
    return learner.algorithm.predict(learner.model, phi["algorithm"], state, support, x)


@pytest.mark.parametrize("learned", [False, True])
def test_predictions_are_log_shares_of_the_softmax_of_cosines(learned: bool) -> None:
    learner, phi, task = made(scale=3.0, learned_scale=learned)
    scale = phi["algorithm"]["log_scale"].exp().item() if learned else 3.0
    assert (scale == 3.0) != learned
    features, queries = (
        functional_call(learner.model.network, phi["theta"], (x, Context())).detach().numpy()
        for x in (task.support.x, task.query.x)
    )
    prediction = predicted(learner, phi, task.support, task.query.x).detach().numpy()
    for q, query in enumerate(queries):
        cosines = [query @ row / np.linalg.norm(query) / np.linalg.norm(row) for row in features]
        weights = np.exp(scale * np.array(cosines)) / np.exp(scale * np.array(cosines)).sum()
        for way in range(3):
            share = sum(weight for weight, y in zip(weights, task.support.y, strict=True) if y == way)
            np.testing.assert_allclose(prediction[q, way], np.log(share), rtol=1e-10)


def test_a_class_without_support_examples_has_hardly_any_share() -> None:
    learner, phi, task = made()
    there = task.support.rows((task.support.y != 1).nonzero()[:, 0])
    prediction = predicted(learner, phi, there, task.query.x)
    assert prediction.isfinite().all()
    assert (prediction[:, 1] < -700).all()
    torch.testing.assert_close(prediction[:, [0, 2]].exp().sum(1), torch.ones(6, dtype=torch.float64))


def test_zero_features_have_no_direction_and_no_gradient() -> None:
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-30, 0.0]], requires_grad=True)
    made_unit = unit(vectors)
    assert made_unit.tolist()[:2] == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]
    (gradient,) = torch.autograd.grad(made_unit[:, 1].sum(), vectors, create_graph=True)
    assert gradient[1:].tolist() == [[0, 0], [0, 0]]
    (again,) = torch.autograd.grad(gradient.sum(), vectors)
    assert again.isfinite().all()


def test_training_can_have_more_ways_than_testing() -> None:
    class MoreWays(Blobs):
        def kind(self, stream: str) -> Classification:
            return Classification(5 if stream == "train" else 3)

    learner, phi = build(MoreWays(), *CONV, "algorithm=matching")
    objective, _ = learner.objective(phi, task_of(Blobs(ways=5).sample("train", 0, 1), 0), {})
    assert objective.isfinite()


def test_regression_is_refused_with_the_reason() -> None:
    with pytest.raises(UserError, match="algorithm=matching: does classification only, since support examples vote"):
        build(waves(), "model=mlp", "dataset=sinusoid", "algorithm=matching")


def context(features: int = 4, steps: int = 3) -> FullContext:
    torch.manual_seed(0)
    return FullContext(features, steps).double()


def copied(cell: nn.Module, into: nn.Module, suffix: str = "") -> None:
    """The weights of a `Cell` into one of PyTorch's, which has a second bias."""
    with torch.no_grad():
        getattr(into, f"weight_ih{suffix}").copy_(cell.input.weight)
        getattr(into, f"weight_hh{suffix}").copy_(cell.recurrent.weight)
        getattr(into, f"bias_ih{suffix}").copy_(cell.input.bias)
        getattr(into, f"bias_hh{suffix}").zero_()


def test_support_features_equal_a_bidirectional_lstm() -> None:
    reader, features = context(), torch.randn(6, 4, dtype=torch.float64)
    lstm = nn.LSTM(4, 4, bidirectional=True).double()
    copied(reader.onwards, lstm, "_l0")
    copied(reader.backwards, lstm, "_l0_reverse")
    both, _ = lstm(features)
    torch.testing.assert_close(
        reader.support(features, torch.ones(6)), both[:, :4] + both[:, 4:] + features, rtol=0, atol=1e-12
    )


def test_queries_equal_an_attention_lstm() -> None:
    reader = context()
    memory, queries = (torch.randn(n, 4, dtype=torch.float64) for n in (5, 2))
    found = reader.queries(queries, memory, torch.ones(5))
    for query, wanted in zip(queries, found, strict=True):
        lstm = nn.LSTMCell(4, 8).double()
        with torch.no_grad():  # a cell of 8 units, of which the second half, the read, is overwritten before every step
            for parameter in lstm.parameters():
                parameter.zero_()
            for gate in range(4):
                here, there = slice(8 * gate, 8 * gate + 4), slice(4 * gate, 4 * gate + 4)
                lstm.weight_ih[here] = reader.reading.input.weight[there]
                lstm.weight_hh[here] = reader.reading.recurrent.weight[there]
                lstm.bias_ih[here] = reader.reading.input.bias[there]
        out, cell = torch.zeros(2, 1, 8, dtype=torch.float64)
        for _ in range(3):
            hidden = out[0, :4] + query
            scores = torch.stack([hidden @ row for row in memory]).exp()
            read = sum(score / scores.sum() * row for score, row in zip(scores, memory, strict=True))
            out, cell = lstm(query[None], (torch.cat((hidden, read))[None], cell))
        torch.testing.assert_close(out[0, :4] + query, wanted, rtol=0, atol=1e-12)


def test_padding_between_examples_is_ignored() -> None:
    reader = context()
    features, queries = (torch.randn(n, 4, dtype=torch.float64) for n in (5, 2))
    mask = torch.tensor([1.0, 0, 1, 1, 0], dtype=torch.float64)
    wanted, asked = reader(features[mask > 0], queries, torch.ones(3))
    found, other = reader(features, queries, mask)
    torch.testing.assert_close((found[mask > 0], other), (wanted, asked), rtol=0, atol=1e-12)


@pytest.mark.parametrize("full", [False, True])
def test_the_order_of_the_support_set_matters_with_full_context_only(full: bool) -> None:
    learner, phi, task = made(full_context=full)
    order = torch.arange(len(task.support.y)).flip(0)
    one, other = (predicted(learner, phi, s, task.query.x) for s in (task.support, task.support.rows(order)))
    assert ((one - other).abs().max() < 1e-12) != full


def test_with_full_context_batched_equals_a_loop_over_tasks() -> None:
    """What the contract asks of the default settings."""
    learner, phi, _ = made(full_context=True, learned_scale=True)
    tasks = Blobs().sample("train", 0, 3)
    wanted = looped(learner, phi, tasks)
    assert all(part.abs().sum() > 0 for part in wanted[0]["algorithm"].values())
    torch.testing.assert_close(MetaGradient(learner, None, compiled=False)(phi, tasks), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("full", [False, True])
def test_attention_is_shared_by_examples_alone(full: bool) -> None:
    learner, phi, task = made(full_context=full)
    filled = padded(task.support, 2)
    filled = PaddedExamples(filled.x + 7 * (1 - filled.mask)[:, None, None, None], filled.y, filled.mask)
    state = learner.algorithm.initial_state(phi["algorithm"], phi["theta"])
    bare, weights = (
        learner.algorithm.attention(learner.model, phi["algorithm"], state, support, task.query.x)
        for support in (task.support, filled)
    )
    assert (weights[:, 6:] == 0).all()
    torch.testing.assert_close(weights[:, :6], bare, rtol=0, atol=1e-12)
    torch.testing.assert_close(bare.sum(1), torch.ones(6, dtype=torch.float64))


def test_one_example_of_each_class_votes_by_itself() -> None:
    learner, phi, task = made()
    firsts = torch.tensor([0, 2, 4])
    support = Examples(task.support.x[firsts], task.support.y[firsts])
    state = learner.algorithm.initial_state(phi["algorithm"], phi["theta"])
    weights = learner.algorithm.attention(learner.model, phi["algorithm"], state, support, task.query.x)
    torch.testing.assert_close(predicted(learner, phi, support, task.query.x), weights.log(), rtol=0, atol=1e-12)
