"""The table of task embeddings."""

import torch
from task_embeddings import KNOWN, built, one, tasks
from torch import Tensor
from torch.func import functional_call, grad


def towards(target: float) -> object:
    return lambda e: (e - target).square().sum()


def test_a_known_task_has_its_row_at_training_and_at_test() -> None:
    table, seen = built("learned"), tasks()
    assert table.rows.shape == (KNOWN, 4)
    for number, identity in ((0, 0), (1, 3)):
        for testing in (False, True):
            assert torch.equal(table(one(seen, number), towards(7.0), testing), table.rows[identity])


def test_only_its_own_row_learns_from_a_task() -> None:
    table, seen = built("learned"), one(tasks(), 1)
    rows = table.rows.detach()
    slope = grad(lambda rows: functional_call(table, {"rows": rows}, (seen, towards(0.0), False)).sum())(rows)
    assert torch.equal(slope, torch.zeros_like(rows).index_fill(0, torch.tensor([3]), 1.0))


def test_a_new_task_has_a_row_fitted_by_adam_from_the_mean_row() -> None:
    table, seen = built("learned", fit_steps=25, fit_lr=0.05), one(tasks(), 2)
    target = torch.tensor([0.5, -1.0, 0.1, 2.0]).double()

    def fit(e: Tensor) -> Tensor:
        return (e - target).pow(4).sum()

    row = table.rows.detach().mean(0).requires_grad_()
    adam = torch.optim.Adam([row], 0.05)
    for _ in range(25):
        adam.zero_grad()
        fit(row).backward()
        adam.step()
    torch.testing.assert_close(table(seen, fit, True), row.detach(), rtol=1e-7, atol=1e-7)


def test_without_steps_a_new_task_has_the_mean_row() -> None:
    table, seen = built("learned", fit_steps=0), one(tasks(), 2)
    assert torch.equal(table(seen, towards(7.0), True), table.rows.detach().mean(0))


def test_nothing_is_differentiated_through_the_fitting() -> None:
    table, seen = built("learned"), one(tasks(), 2)

    def e(rows: Tensor, scale: Tensor) -> Tensor:
        return functional_call(table, {"rows": rows}, (seen, lambda e: (e * scale - 7).square().sum(), True)).sum()

    one_ = torch.ones((), dtype=torch.float64)
    for slope in grad(e, argnums=(0, 1))(table.rows.detach(), one_):
        assert not slope.any()
