"""The network that measures tasks."""

import pytest
import torch
from builders import settings

from metarun.core.inputs import InputSpec
from metarun.embeddings.probe import probe_of
from metarun.models.normalization import KINDS, Context


@pytest.mark.parametrize("kind", KINDS)
def test_it_makes_the_features_of_the_network_of_a_batch_and_of_each_of_its_examples(kind: str) -> None:
    torch.manual_seed(0)
    network = settings("model=conv4", "model.channels=8", "model.layers=2", f"model.normalization={kind}").model.build(
        InputSpec.of((1, 8, 8)), 3
    )
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    probe, x = probe_of(network), torch.randn(5, 1, 8, 8)
    context = Context()
    features = probe(x, context)
    torch.testing.assert_close(network.head(features), network(x, Context()))
    alone = torch.cat([probe(x[i : i + 1], Context(running=dict(context.running))) for i in range(5)])
    torch.testing.assert_close(alone, features)


def test_it_is_a_copy_but_for_the_head() -> None:
    network = settings("model=mlp", "model.hidden=[4]", "model.normalization=batch").model.build(InputSpec.of((3,)), 2)
    probe = probe_of(network)
    own = dict(probe.named_parameters())
    assert own.keys() == {name for name, _ in network.named_parameters() if not name.startswith("head.")}
    for name, parameter in network.named_parameters():
        if name in own:
            assert own[name] is not parameter
            assert torch.equal(own[name], parameter)


def test_statistics_exclude_padding() -> None:
    network = settings("model=mlp", "model.hidden=[4]", "model.normalization=batch").model.build(InputSpec.of((3,)), 2)
    probe, x = probe_of(network), torch.randn(5, 3)
    padded = probe(torch.cat((x, torch.ones(2, 3))), Context(mask=torch.tensor([1.0] * 5 + [0.0] * 2)))
    torch.testing.assert_close(padded[:5], probe(x, Context()))
