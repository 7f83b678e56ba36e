"""Multi-class support vector machines (Crammer & Singer 2001), solved by a fixed number of differentiable steps."""

import torch
from torch import Tensor

from metarun.algorithms.on_features import SupportFeatures

RELAXATION = 1.6
"""How far each step goes beyond its target; 1.5 to 1.8 is usual (Boyd et al. 2011, section 3.4.3)."""
WEIGHT = 0.25
"""Of the augmented term, relative to the problem's eigenvalues. Of 0.1 to 1 this makes gradients right soonest on
features of glyphs, before training and after: 5-way 5-shot, to 1e-2 after 50 steps."""
LEAST_WEIGHT = 1e-4


def crammer_singer(support: SupportFeatures, penalty: float | Tensor, steps: int) -> Tensor:
    """The α ``[s, classes]`` of the W = Zᵀα that minimizes mean ξ + λ/2 ‖W‖².

    ξ = max_k (z w_k + 1[k ≠ y]) − z w_y is what an example lacks of a margin of 1 to the other classes. In the dual
    problem α = (Y − Q)/(λn), and the rows of Q are the probabilities that minimize ½ ‖Zᵀ(Y − Q)‖²/(λn) + ⟨Y, Q⟩. It is
    solved by that many steps of the alternating direction method of multipliers (Boyd et al. 2011, section 3.1.1).
    A class without an example has a column too: it is wrong for all.
    """
    z, y, mask = support
    bound = 1 / (penalty * mask.sum())
    identity = torch.eye(len(z), dtype=z.dtype, device=z.device)
    weight = bound * _weight(z, mask) + LEAST_WEIGHT
    solved = torch.linalg.inv_ex(bound * z @ z.T + weight * identity).inverse
    # A number for all classes of a row changes nothing; this one makes rows of Y − Q sum to 0 from the first step on.
    linear = y - mask / y.shape[1]
    held = gap = torch.zeros_like(y)
    for _ in range(steps):
        free = solved @ (linear + weight * (held - gap))
        target = RELAXATION * free + (1 - RELAXATION) * held + gap
        held = y - on_simplex(y - target)
        gap = target - held
    return bound * mask * held


def _weight(z: Tensor, mask: Tensor) -> Tensor:
    """Of the augmented term: the mean eigenvalue of ZZᵀ less the rows' common mean, large ones counting more."""
    centerd = z - mask * (z.sum(0) / mask.sum())
    gram = centerd @ centerd.T
    return WEIGHT * gram.square().sum() / gram.trace().clamp(min=torch.finfo(z.dtype).tiny)


def on_simplex(rows: Tensor) -> Tensor:
    """The nearest rows ``[n, k]`` that are probabilities: non-negative, of sum 1.

    (v − τ)₊, with τ = max over j of (sum of the j largest − 1)/j (Held, Wolfe & Crowder 1974).
    """
    counts = torch.arange(1, rows.shape[1] + 1, dtype=rows.dtype, device=rows.device)
    sums = rows.sort(1, descending=True).values.cumsum(1)
    return (rows - ((sums - 1) / counts).amax(1, keepdim=True)).clamp(min=0)
