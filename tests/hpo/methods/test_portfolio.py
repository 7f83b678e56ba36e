"""The greedy portfolio against a search over all continuations."""

import numpy as np
from histories import history, observed
from hypothesis import given, settings
from hypothesis import strategies as st

from metarun.hpo.methods.portfolio import Portfolio, greedy, ranks


@settings(deadline=None)
@given(st.integers(0, 999), st.integers(2, 6), st.integers(3, 8))
def test_each_step_lowers_the_average_best_rank_most(seed: int, tasks: int, many: int) -> None:
    losses = np.random.default_rng(seed).random((tasks, many))
    order = greedy(losses, many).tolist()
    assert sorted(order) == list(range(many))
    rank = [[1 + sum(other < own for other in row) for own in row] for row in losses]
    assert sum(row[order[0]] for row in rank) == min(sum(row[place] for row in rank) for place in range(many))

    def average(chosen: list[int]) -> float:
        return sum(min(row[place] for place in chosen) for row in rank) / tasks

    for size in range(1, many):
        others = [average([*order[:size], place]) for place in range(many) if place not in order[:size]]
        assert average(order[: size + 1]) <= min(others) + 1e-9


def test_ties_share_ranks_and_missing_scores_are_last() -> None:
    assert ranks(np.array([[0.3, 0.1, np.nan, 0.1]])).tolist() == [[3, 1.5, 4, 1.5]]


def test_it_is_followed_in_order() -> None:
    past = history()
    portfolio = Portfolio(past, 5)
    losses = past.losses[0]
    tried: list[int] = []
    for _ in range(5):
        tried.append(portfolio.propose(observed(losses, tried), np.random.default_rng(0)))
    assert tried == portfolio.order.tolist()
    after = portfolio.propose(observed(losses, tried), np.random.default_rng(0))
    assert after not in tried
