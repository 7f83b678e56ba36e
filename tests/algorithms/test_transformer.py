"""The transformer over support pairs against PyTorch's own layers."""

from typing import Any

import pytest
import torch
from builders import CONV, MLP, Blobs, build, moved, padded, task_of, waves
from torch import Tensor, nn
from torch.func import functional_call

from metarun.algorithms.on_features import SupportFeatures
from metarun.algorithms.transformer import Block, Encoder
from metarun.core.errors import UserError
from metarun.core.kinds import Classification
from metarun.core.tasks import AnyExamples, Task
from metarun.datasets.base import Dataset
from metarun.learner.learner import Learner, MetaParameters
from metarun.models.normalization import Context

PROBLEMS: dict[str, tuple[Dataset, tuple[str, ...]]] = {"classes": (Blobs(), CONV), "targets": (waves(), MLP)}


def made(problem: str, **changes: Any) -> tuple[Learner, MetaParameters, Task]:
    dataset, model = PROBLEMS[problem]
    learner, phi = build(dataset, *model, "algorithm=transformer", "model.normalization=none", **changes)
    return learner, moved(phi), task_of(dataset.sample("train", 0, 1), 0)


def predicted(learner: Learner, phi: MetaParameters, support: AnyExamples, x: Tensor) -> Tensor:
    state = learner.algorithm.initial_state(phi["algorithm"], phi["theta"])
    return learner.algorithm.predict(learner.model, phi["algorithm"], state, support, x)


def attention(learner: Learner, phi: MetaParameters, support: AnyExamples, x: Tensor) -> Tensor:
    state = learner.algorithm.initial_state(phi["algorithm"], phi["theta"])
    return learner.algorithm.attention(learner.model, phi["algorithm"], state, support, x)


def theirs(block: Block, width: int, heads: int) -> nn.TransformerEncoderLayer:
    """PyTorch's pre-norm layer with the weights of a block."""
    layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True).double()
    parts = (block.query, block.key, block.value)
    pairs = [
        (layer.self_attn.in_proj_weight, torch.cat([part.weight for part in parts])),
        (layer.self_attn.in_proj_bias, torch.cat([part.bias for part in parts])),
    ]
    modules = (
        (layer.self_attn.out_proj, block.mixed),
        (layer.norm1, block.before_attention),
        (layer.norm2, block.before_layers),
        (layer.linear1, block.layers[0]),
        (layer.linear2, block.layers[2]),
    )
    pairs += [(getattr(a, name), getattr(b, name)) for a, b in modules for name in ("weight", "bias")]
    with torch.no_grad():
        for mine, other in pairs:
            mine.copy_(other)
    return layer


def jittered(module: nn.Module) -> nn.Module:
    """With no parameter left at the 0 or 1 where it began."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


@pytest.mark.parametrize("fill", [0, 2])
def test_a_block_is_pytorchs_encoder_layer_with_all_but_the_support_set_masked(fill: int) -> None:
    torch.manual_seed(0)
    block = Block(8, 2).double()
    jittered(block)
    layer, s = theirs(block, 8, 2), 5 + fill
    mask = torch.tensor([1.0] * 5 + [0.0] * fill, dtype=torch.float64)
    tokens = torch.randn(3, s + 4, 8, dtype=torch.float64)
    hidden = torch.ones(s + 4, s + 4, dtype=torch.bool)
    hidden[:, :5] = False
    found, weights = block(tokens, s, mask)
    torch.testing.assert_close(found, layer(tokens, src_mask=hidden), rtol=0, atol=1e-9)
    normed = layer.norm1(tokens)
    _, wanted = layer.self_attn(normed, normed, normed, attn_mask=hidden, average_attn_weights=False)
    torch.testing.assert_close(weights, wanted[..., :s], rtol=0, atol=1e-9)
    assert (weights[..., 5:] == 0).all()


def test_a_regression_is_one_pass_of_layers_and_a_classification_one_a_class() -> None:
    """The whole computation with PyTorch's layers, for one class at a time."""
    for problem in PROBLEMS:
        learner, phi, task = made(problem, layers=2, width=8, heads=2)
        params, encoder = phi["algorithm"], learner.model.algorithm_network
        assert isinstance(encoder, Encoder)
        encoder.load_state_dict(params)
        features, queries = (
            functional_call(learner.model.network, phi["theta"], (x, Context())) for x in (task.support.x, task.query.x)
        )
        s, columns = len(features), []
        hidden = torch.ones(s + len(queries), s + len(queries), dtype=torch.bool)
        hidden[:, :s] = False
        classes = problem == "classes"
        for way in range(3 if classes else 1):
            labels = (task.support.y == way).double()[:, None] if classes else task.support.y
            support = features @ params["example.weight"].T + params["example.bias"] + labels @ params["label.weight"].T
            asked = queries @ params["example.weight"].T + params["example.bias"] + params["unlabeled"]
            tokens = torch.cat((support, asked))[None]
            for block in encoder.blocks:
                assert isinstance(block, Block)
                tokens = theirs(block, 8, 2)(tokens, src_mask=hidden)
            out = nn.functional.layer_norm(tokens[0, s:], (8,), params["norm.weight"], params["norm.bias"])
            columns.append(out @ params["readout.weight"].T + params["readout.bias"])
        prediction = predicted(learner, phi, task.support, task.query.x)
        torch.testing.assert_close(prediction, torch.cat(columns, 1), rtol=0, atol=1e-9)


def test_training_can_have_more_ways_than_testing() -> None:
    class MoreWays(Blobs):
        def kind(self, stream: str) -> Classification:
            return Classification(5 if stream == "train" else 3)

    learner, phi = build(MoreWays(), *CONV, "algorithm=transformer")
    objective, _ = learner.objective(phi, task_of(Blobs(ways=5).sample("train", 0, 1), 0), {})
    assert objective.isfinite()


@pytest.mark.parametrize("problem", PROBLEMS)
def test_attention_is_shared_by_examples_alone(problem: str) -> None:
    learner, phi, task = made(problem)
    bare = attention(learner, phi, task.support, task.query.x)
    weights = attention(learner, phi, padded(task.support, 2), task.query.x)
    s = len(task.support.y)
    assert bare.shape == (len(task.query.y), s)
    torch.testing.assert_close(bare.sum(1), torch.ones_like(bare[:, 0]))
    torch.testing.assert_close(weights[:, :s], bare, rtol=0, atol=1e-12)
    assert (weights[:, s:] == 0).all()


def test_attention_is_that_of_the_predicted_class() -> None:
    learner, phi, task = made("classes")
    phi = moved(phi, 0.3)
    encoder = learner.model.algorithm_network
    encoder.load_state_dict(phi["algorithm"])
    features, queries = (
        functional_call(learner.model.network, phi["theta"], (x, Context())) for x in (task.support.x, task.query.x)
    )
    labels = learner.model.kind.encode_labels(task.support.y, torch.float64)
    prediction, each = encoder(SupportFeatures(features, labels, torch.ones(len(labels), 1)), queries)
    found = attention(learner, phi, task.support, task.query.x)
    assert len(prediction.argmax(1).unique()) > 1
    for query, way in enumerate(prediction.argmax(1)):
        torch.testing.assert_close(found[query], each[way, :, query].mean(0), rtol=0, atol=1e-12)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(UserError, match=r"algorithm\.heads=3: must divide algorithm\.width=64"):
        build(waves(), *MLP, "algorithm=transformer", "algorithm.heads=3")
