"""The output regulariser against forgetting (von Oswald et al. 2020, "Continual learning with hypernetworks", eq. 2).

Before each group of tasks but the first, φ is kept as φ*, with embeddings e of tasks of the groups behind. While the
group is learned, what the hypernetwork makes for those embeddings shall stay what it was:

    Ω = mean over groups behind of mean over their e of ‖f(φ*, e) - f(φ + Δφ, e)‖²

where Δφ is the step that the loss alone would take, held constant.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from metarun.learner import Learner, MetaParameters
from metarun.regularisers.penalties import squares


@dataclass
class Memory:
    """Kept of the groups behind: φ* and, for each group, embeddings ``[tasks, size]``. Part of a run's state."""

    phi: MetaParameters = field(default_factory=dict)
    embeddings: list[Tensor] = field(default_factory=list)


class OutputRegulariser:
    """Ω and its gradient; one object serves one group, for it keeps what φ* made."""

    def __init__(self, learner: Learner, memory: Memory) -> None:
        generate = vmap(learner.generated, in_dims=(None, 0))
        with torch.no_grad():
            kept = [(embeddings, generate(memory.phi, embeddings)) for embeddings in memory.embeddings]

        def change(phi: MetaParameters) -> Tensor:
            total = torch.zeros(())
            for embeddings, wanted in kept:
                made = generate(phi, embeddings)
                total = total + squares({n: made[n] - wanted[n] for n in made}) / len(embeddings) / len(kept)
            return total

        self._change = grad_and_value(change)

    def __call__(self, phi: MetaParameters) -> tuple[MetaParameters, Tensor]:
        """∇Ω at ``phi``, which is φ + Δφ, and Ω there."""
        gradient, value = self._change(phi)
        return gradient, value
