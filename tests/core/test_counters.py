"""Random numbers from counters: fixed for ever, uniform, and distinct where they must be."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metarun.core.counters import choose, key, keys, uniform

INTS = st.integers(-(2**63), 2**63 - 1)


def test_key_is_the_same_for_ever() -> None:
    # A change would silently change every split and every task of every published run.
    assert key(0, "dataset", "train") == 3120611126062388453
    assert keys(key(0, "dataset", "train"), torch.arange(2)).tolist() == [-4301547004665354524, 1020683221696253034]


def test_keys_follow_splitmix64() -> None:
    # First outputs of the reference implementation for seed 1234567 (Vigna, splitmix64.c).
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [value % 2**64 for value in keys(1234567, torch.arange(5)).tolist()] == expected


def test_purposes_have_different_keys() -> None:
    purposes = [(0, "a"), (1, "a"), (0, "b"), (0, "a", "b"), (0, "ab"), (0, "a", 1), (0, "a", 11)]
    assert len({key(seed, *purpose) for seed, *purpose in purposes}) == len(purposes)


@given(INTS, st.integers(1, 50))
def test_uniform_is_in_the_unit_interval_and_independent_of_the_batch(parent: int, count: int) -> None:
    of = keys(parent, torch.arange(7))
    drawn = uniform(of, count)
    assert drawn.dtype == torch.float64
    assert drawn.shape == (7, count)
    assert bool(((drawn >= 0) & (drawn < 1)).all())
    assert torch.equal(uniform(of[3], count), drawn[3])


def test_uniform_fills_the_interval_evenly() -> None:
    drawn = uniform(keys(key(0, "test"), torch.arange(1000)), 100).flatten()
    counts = torch.histc(drawn, 20, 0, 1)
    expected = len(drawn) / 20
    assert float(((counts - expected) ** 2 / expected).sum()) < 43.8  # chi-squared, 19 degrees of freedom, p = .001


def test_neighboring_keys_are_uncorrelated() -> None:
    drawn = uniform(keys(key(0, "test"), torch.arange(2000)), 2)
    pairs = torch.stack([drawn[:-1, 0], drawn[1:, 0], drawn[:-1, 1]])
    off_diagonal = torch.corrcoef(pairs) - torch.eye(3)
    assert float(off_diagonal.abs().max()) < 0.08


@given(INTS, st.integers(1, 30), st.integers(0, 5000))
def test_choose_takes_distinct_numbers_below_the_population(parent: int, count: int, more: int) -> None:
    chosen = choose(keys(parent, torch.arange(5)), count + more, count)
    assert chosen.shape == (5, count)
    assert int(chosen.min()) >= 0
    assert int(chosen.max()) < count + more
    assert all(len(set(row)) == count for row in chosen.tolist())


@given(INTS, st.integers(1, 12), st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_choose_from_populations_of_different_size(parent: int, count: int, more: list[int]) -> None:
    populations = torch.tensor(more) + count
    of = keys(parent, torch.arange(len(more)))
    chosen = choose(of, populations, count)
    for row, population in enumerate(populations.tolist()):
        assert torch.equal(chosen[row], choose(of[row], population, count))


def test_choose_takes_each_ordered_pair_equally_often() -> None:
    chosen = choose(keys(key(0, "test"), torch.arange(30_000)), 6, 2)
    counts = torch.bincount(chosen[:, 0] * 6 + chosen[:, 1], minlength=36).view(6, 6)
    assert counts.diagonal().tolist() == [0] * 6
    off_diagonal = counts[~torch.eye(6, dtype=torch.bool)].double()
    assert float(((off_diagonal - 1000) ** 2 / 1000).sum()) < 58.3  # chi-squared, 29 degrees of freedom, p = .001


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_devices_agree() -> None:
    of = keys(key(0, "test"), torch.arange(100))
    assert torch.equal(choose(of.cuda(), 1000, 20).cpu(), choose(of, 1000, 20))
