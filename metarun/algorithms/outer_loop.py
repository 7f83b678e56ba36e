"""The outer loop's settings: how the meta-gradient moves φ, and how that step size changes over meta-training."""

from dataclasses import dataclass
from math import cos, pi

from metarun.config.fields import choice, number


@dataclass(kw_only=True)
class OuterLoop:
    optimiser: str = choice("adam", "sgd")
    lr: float = number(above=0)
    momentum: float = number(least=0, below=1)
    schedule: str = choice("constant", "linear", "cosine", "halving")
    halve_every: int = number(least=1)

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
