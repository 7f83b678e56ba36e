"""The baseline that learns nothing beforehand: a random start and the inner loop alone."""

from dataclasses import dataclass

from metarun.algorithms.shortened_steps import ShortenedSteps


@dataclass(kw_only=True)
class Scratch(ShortenedSteps):
    """MAML's inner loop at meta-test, from the initial parameters."""
