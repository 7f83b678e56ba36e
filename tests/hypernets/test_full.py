"""The hypernetwork that makes whole tensors."""

import torch
from networks import EMBEDDING, conv4, small, theta_of


def test_gains_start_at_one_and_all_else_differs_between_tasks() -> None:
    theta = theta_of(conv4("batch"))
    made = small("full", delta=False).build(EMBEDDING, theta).double()
    one, other = (made({}, torch.randn(EMBEDDING, dtype=torch.float64)) for _ in range(2))
    for name in theta:
        if name.startswith("norms.") and name.endswith("weight"):
            assert torch.equal(one[name], torch.ones_like(theta[name]))
        else:
            assert (one[name] != other[name]).all()


def test_it_has_a_row_of_its_head_for_every_number() -> None:
    theta = theta_of(conv4())
    heads = small("full").build(EMBEDDING, theta).heads
    assert sum(head.out_features for head in heads.values()) == sum(tensor.numel() for tensor in theta.values())
