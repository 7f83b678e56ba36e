"""The hypernetwork that makes θ piece by piece."""

from collections.abc import Callable

import pytest
import torch
from builders import CONV, Blobs, build
from networks import EMBEDDING, conv4, mlp, parameters, small, start, theta_of
from torch import Tensor, nn

from metarun.hypernets.heads import deviation
from metarun.models.base import count


class Fixed(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize("chunk", [1, 7, 10, 64, 10_000])
def test_the_chunks_hold_every_number_once_and_in_order(chunk: int) -> None:
    theta = theta_of(mlp())
    numbers = count(theta)
    hypernet = small("chunked", delta=False, chunk=chunk).build(EMBEDDING, theta)
    chunks, length = -(-numbers // min(chunk, numbers)), min(chunk, numbers)
    assert hypernet.chunks.shape == (chunks, 16)
    assert hypernet.head.out_features == length
    # Number k of chunk i is i * length + k.
    hypernet.trunk = Fixed(lambda pairs: torch.arange(len(pairs)))
    hypernet.head = Fixed(lambda i: i[:, None] * length + torch.arange(length))
    hypernet.signs.fill_(1)
    made = start(hypernet, {}, {}, torch.zeros(EMBEDDING))
    numbered = torch.cat([made[name].flatten() / deviation(theta[name]) for name in theta])
    torch.testing.assert_close(numbered, torch.arange(numbers, dtype=torch.float32))


def test_its_size_does_not_grow_with_theta_but_for_an_embedding_a_chunk() -> None:
    few, many = (
        small("chunked").build(EMBEDDING, theta_of(mlp(hidden=hidden))) for hidden in ((10, 10), (10, 100, 10))
    )
    grown = count(parameters(many)) - count(parameters(few))
    assert grown == 16 * (len(many.chunks) - len(few.chunks)) > 0


def test_signs_are_fixed_and_half_are_negative() -> None:
    """Another version's signs would make another network of a saved φ."""
    torch.manual_seed(1)
    signs = small("chunked").build(EMBEDDING, {"head.weight": torch.zeros(100, 100)}).signs
    assert signs[:16].tolist() == [-1, -1, 1, 1, -1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1]
    assert abs(int(signs.sum())) < 300


def test_signs_belong_to_the_runs_seed() -> None:
    dataset = Blobs()
    learners = [build(dataset, *CONV, "hypernet=chunked", "embedding=support", f"seed={seed}")[0] for seed in (0, 0, 1)]
    first, same, other = (learner.hypernet.get_buffer("signs") for learner in learners)
    assert torch.equal(first, same)
    assert 0.4 < (first == other).double().mean() < 0.6


def test_gains_start_at_one_and_can_move() -> None:
    theta = theta_of(conv4("batch"))
    hypernet = small("chunked", delta=False).build(EMBEDDING, theta)
    embedding = torch.randn(EMBEDDING, dtype=torch.float64)
    for moved in (0.0, 0.1):
        made = start(hypernet, parameters(hypernet, moved), {}, embedding)
        ones = torch.ones_like(made["norms.1.weight"])
        assert torch.equal(made["norms.1.weight"], ones) == (not moved)
