"""Settings of tracking: what a run leaves in TensorBoard beside its curves, and how often."""

from dataclasses import dataclass

from metarun.core.fields import number


@dataclass(kw_only=True)
class TrackingSettings:
    """The keys of ``conf/tracking/*.yaml``: a switch for each part, sizes, and meta-updates between looks.

    None of it may change a result: nothing is drawn from a generator that others draw from, and φ is only looked at.
    """

    hparams: bool
    text: bool
    layout: bool
    adaptation: bool
    examples: bool
    fits: bool
    confusion: bool
    gradients: bool
    similarity: bool
    step_sizes: bool
    embeddings: bool
    attention: bool
    forgetting: bool
    tasks: int = number(least=1)
    gradient_tasks: int = number(least=2)
    pictures_every: int | None = number(least=1)
    gradients_every: int | None = number(least=1)
    time_share: float = number(least=0, most=1)
