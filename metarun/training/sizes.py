"""Numbers of parameters: of the task model, of φ, and of generated tensors."""

from metarun.learner.learner import Learner, MetaParameters
from metarun.models.base import count

GROUPS = ("theta", "embedding", "hypernet", "algorithm")
"""The groups of φ."""


def sizes(learner: Learner, phi: MetaParameters) -> dict[str, int]:
    """Numbers of scalars, by what holds them.

    ``theta``: the task model θ. ``theta made``: those of θ that the hypernetwork makes. ``phi``: all that is
    meta-learned, without what the settings hold at its start; ``phi theta`` (θ₀), ``phi embedding`` and
    ``phi hypernet`` (what makes θ), and ``phi algorithm`` (step sizes and networks of the algorithm's own): its groups.
    """
    theta = {name: tensor.detach() for name, tensor in learner.model.network.named_parameters()}
    learned = {group: count(learner.learned(phi)[group]) for group in GROUPS}
    return {
        "theta": count(theta),
        "theta made": count({name: theta[name] for name in learner.hypernet.generated}),
        "phi": sum(learned.values()),
        **{f"phi {group}": size for group, size in learned.items()},
    }
