"""The outer loop's settings: what it learns from, how the meta-gradient moves φ, and how far at which time."""

from dataclasses import dataclass
from math import cos, pi

from metarun.core.fields import choice, number


@dataclass(kw_only=True)
class SlowWeights:
    """φ ← φ_slow + ``ratio`` (φ − φ_slow) after ``every`` meta-updates, and φ_slow ← φ.

    With more than one between, this is Lookahead (Zhang et al. 2019, "Lookahead optimizer: k steps forward, 1 step
    back", algorithm 1). With a ratio of 1 there are no slow weights.
    """

    ratio: float = number(above=0, most=1)
    every: int = number(least=1)


@dataclass(kw_only=True)
class TaskSelection:
    """Which tasks a meta-update learns from: the next ones, or those chosen from ``pool`` times as many.

    See `metarun.engine.selection`.
    """

    select: str = choice("all", "k_center", "k_medoids", "loss")
    pool: int = number(least=1)
    temperature: float = number(above=0)


@dataclass(kw_only=True)
class OuterLoop:
    """An algorithm's keys ``outer``; ``slow`` and ``tasks`` have theirs from ``conf/algorithm/outer/plain.yaml``."""

    optimizer: str = choice("adam", "sgd")
    lr: float = number(above=0)
    momentum: float = number(least=0, below=1)
    schedule: str = choice("constant", "linear", "cosine", "halving")
    halve_every: int = number(least=1)
    slow: SlowWeights
    tasks: TaskSelection

    def lr_at(self, step: int, steps: int) -> float:
        """Step size of meta-update ``step`` (from 0) of ``steps``; a pure function, so a resumed run needs no state."""
        match self.schedule:
            case "linear":
                return self.lr * (1 - step / steps)
            case "cosine":
                return self.lr * (1 + cos(pi * step / steps)) / 2
            case "halving":
                return self.lr * 0.5 ** (step // self.halve_every)
        return self.lr
