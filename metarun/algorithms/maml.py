"""MAML (Finn, Abbeel & Levine 2017, "Model-agnostic meta-learning for fast adaptation of deep networks")."""

from dataclasses import dataclass

from metarun.algorithms.unrolled import Unrolled


@dataclass(kw_only=True)
class MAML(Unrolled):
    """Algorithm 1: θ' = θ − α∇L_S(θ), repeated (`GradientBased.step`), and φ ← φ − β∇L_Q(θ') (`Unrolled.objective`).

    Other values of its keys are FOMAML; Meta-SGD (Li et al. 2017), with a learned step size per parameter; and MAML++
    (Antoniou et al. 2019), with step sizes per layer and step, losses of all steps, annealed order and per-step
    normalization.
    """
