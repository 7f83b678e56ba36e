"""Random numbers from counters.

Every random choice is a function of (seed, purpose, number), never of a generator's state: tasks can be drawn in any
order, on any device, by any process, and a resumed run meets the same tasks. The mixing function is the finalizer of
SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators"), in wrapping int64 arithmetic.
"""

import hashlib

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15, the odd integer nearest 2^64 / golden ratio
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def _mixed(state: Tensor) -> Tensor:
    """SplitMix64's finalizer: a bijection of int64 in which every input bit moves every output bit."""
    state = (state ^ _shifted(state, 30)) * _MIX_1
    state = (state ^ _shifted(state, 27)) * _MIX_2
    return state ^ _shifted(state, 31)


def _shifted(state: Tensor, by: int) -> Tensor:
    """Logical right shift: torch's own keeps the sign bit."""
    return (state >> by) & ((1 << (64 - by)) - 1)


def key(seed: int, *purpose: str | int) -> int:
    """A 63-bit key for one purpose, e.g. ``key(seed, "dataset", "train")``; the same on every machine."""
    text = "\x1f".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def keys(parent: int | Tensor, numbers: Tensor) -> Tensor:
    """One int64 key for each of the int64 ``numbers``, under ``parent`` (an int, or keys that broadcast)."""
    return _mixed(parent + (numbers + 1) * _GOLDEN)


def uniform(of: Tensor, count: int) -> Tensor:
    """``[..., count]`` float64 numbers in [0, 1), for keys ``[...]``."""
    counts = torch.arange(count, device=of.device)
    return _shifted(keys(of.unsqueeze(-1), counts), 11).double() * 2.0**-53


def choose(of: Tensor, population: int | Tensor, count: int) -> Tensor:
    """``[..., count]`` distinct numbers below ``population``, in random order, for keys ``[...]``.

    ``population`` is an int or an int64 tensor ``[...]``; it must be at least ``count``. Floyd's algorithm (Bentley &
    Floyd 1987) picks the set in ``count`` steps, whatever the population; a random order makes it a random sequence.
    """
    draws = uniform(of, 2 * count)
    populations = population.unsqueeze(-1) if isinstance(population, Tensor) else population
    limits = populations - count + 1 + torch.arange(count, device=of.device)
    picks = (draws[..., :count] * limits).long()
    for step in range(1, count):
        taken = (picks[..., :step] == picks[..., step, None]).any(-1)
        picks[..., step] = torch.where(taken, limits[..., step] - 1, picks[..., step])
    return picks.gather(-1, draws[..., count:].argsort(-1))
