"""MAML (Finn, Abbeel & Levine 2017, "Model-agnostic meta-learning for fast adaptation of deep networks")."""

from dataclasses import dataclass

from metarun.algorithms.unrolled import Unrolled


@dataclass(kw_only=True)
class MAML(Unrolled):
    """θ' = θ − α∇L_S(θ), repeated, and φ ← φ − β∇L_Q(θ') (algorithm 1).

    By its keys it is FOMAML too; Meta-SGD (Li et al. 2017), with a learned step size a parameter; and MAML++ (Antoniou
    et al. 2019), with step sizes a layer and step, losses of all steps, annealed order and per-step normalization.
    """
