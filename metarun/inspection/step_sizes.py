"""The inner step sizes that the outer loop learns."""

import torch
from torch import Tensor

from metarun.algorithms.inner_rates import PREFIX
from metarun.algorithms.unrolled import Unrolled
from metarun.learner.learner import Learner, MetaParameters
from metarun.models.base import layer_of


def step_sizes(learner: Learner, phi: MetaParameters) -> dict[str, Tensor]:
    """Those of each layer of θ, ``[n]``, where they are meta-parameters; a name of ``layers.0 step 1`` where each inner
    step has its own, and of ``all`` where layers share them. On CPU.
    """
    algorithm = learner.algorithm
    if not (isinstance(algorithm, Unrolled) and algorithm.rates.learned):
        return {}
    rates = algorithm.rates
    found: dict[str, list[Tensor]] = {}
    for key, value in phi["algorithm"].items():
        if not key.startswith(PREFIX):
            continue
        name = key.removeprefix(PREFIX)
        layer = layer_of(name) if rates.per in ("tensor", "parameter") else name
        sizes = rates.value(value.cpu(), algorithm.highest_rate)
        for step, part in enumerate(sizes if rates.each_step else [sizes], 1):
            found.setdefault(f"{layer} step {step}" if rates.each_step else layer, []).append(part.flatten())
    return {name: torch.cat(parts) for name, parts in found.items()}
