"""The baseline that learns nothing beforehand: a random start and the inner loop alone."""

from dataclasses import dataclass

from metarun.algorithms.gradient_based import ConstantRate, GradientBased


@dataclass(kw_only=True)
class Scratch(ConstantRate, GradientBased):
    """MAML's inner loop at meta-test, from the initial parameters."""
