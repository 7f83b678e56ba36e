"""MAML (Finn, Abbeel & Levine 2017, "Model-agnostic meta-learning for fast adaptation of deep networks")."""

from dataclasses import dataclass

from metarun.algorithms.gradient_based import ConstantRate, Unrolled


@dataclass(kw_only=True)
class MAML(ConstantRate, Unrolled):
    """θ' = θ − α∇L_S(θ), repeated, and φ ← φ − β∇L_Q(θ') (algorithm 1; ``order=1``: the approximation of 5.2)."""
