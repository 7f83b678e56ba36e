"""The hypernetwork whose matrices are products of narrow ones."""

import pytest
import torch
from networks import EMBEDDING, conv4, mlp, parameters, small, start, theta_of

from metarun.models.base import count


@pytest.mark.parametrize("delta", [True, False])
@pytest.mark.parametrize("rank", [1, 3])
def test_matrices_and_kernels_have_the_rank_asked_for(rank: int, delta: bool) -> None:
    for network in (mlp(hidden=(9, 8), inputs=7, outputs=6), conv4(channels=6)):
        theta = theta_of(network)
        hypernet = small("lowrank", rank=rank, delta=delta).build(EMBEDDING, theta)
        made = start(hypernet, parameters(hypernet, moved=0.5), theta, torch.randn(EMBEDDING, dtype=torch.float64))
        for name, tensor in made.items():
            if tensor.dim() > 1:
                generated = tensor - theta[name] if delta else tensor
                matrix = generated.flatten(1)
                assert torch.linalg.matrix_rank(matrix, rtol=1e-9) == min(rank, *matrix.shape)


def test_the_product_is_u_times_v_transposed() -> None:
    theta = theta_of(conv4())
    hypernet = small("lowrank").build(EMBEDDING, theta).double()
    phi = parameters(hypernet, moved=0.5)
    torch.nn.utils.vector_to_parameters(torch.cat([tensor.flatten() for tensor in phi.values()]), hypernet.parameters())
    embedding = torch.randn(EMBEDDING, dtype=torch.float64)
    hidden, product = hypernet.trunk(embedding), hypernet.matrices["layers/1/weight"]
    u, v = product.u(hidden).view(4, 4), product.v(hidden).view(4, 4 * 9).T  # [out, rank] and [in·3·3, rank]
    made = hypernet(theta, embedding)["layers.1.weight"]
    torch.testing.assert_close(made, theta["layers.1.weight"] + (u @ v.T).view(4, 4, 3, 3))


def test_rank_is_limited_by_the_matrix() -> None:
    theta = theta_of(mlp(hidden=(20, 20), outputs=1))
    sizes = [count(parameters(small("lowrank", rank=rank).build(EMBEDDING, theta))) for rank in (20, 21, 1000)]
    assert sizes[0] == sizes[1] == sizes[2]
