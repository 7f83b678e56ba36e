"""Per-step normalization (Antoniou, Edwards & Storkey 2019, "How to train your MAML", section 4, "BNWB").

Every inner step has its own gain and shift in each normalization layer, learned by the outer loop. They are kept
as what is added to θ's, so that a start made by a hypernetwork has them too. The paper's running statistics per step
are left out: the inner loops of metarun normalize by statistics of their own task.
"""

import torch

from metarun.models.base import NORMS, Parameters

PREFIX = "step."
"""How the names of these additions begin, among an algorithm's own meta-parameters."""


def initial(theta: Parameters, steps: int) -> Parameters:
    """Zeros: for the start and after each step, ``[steps + 1, channels]`` for each tensor of a normalization."""
    norms = {name: tensor for name, tensor in theta.items() if name.startswith(NORMS)}
    return {PREFIX + name: torch.zeros(steps + 1, *tensor.shape) for name, tensor in norms.items()}


def placed(params: Parameters, theta: Parameters, step: int, before: int | None) -> Parameters:
    """θ with the additions of place ``step`` (0: the start) instead of those of ``before``; ``None``: θ has none.

    Places beyond the last are the last.
    """
    moved = {}
    for key, added in params.items():
        if key.startswith(PREFIX):
            name, last = key.removeprefix(PREFIX), len(added) - 1
            change = added[min(step, last)]
            moved[name] = theta[name] + (change if before is None else change - added[min(before, last)])
    return {**theta, **moved}
