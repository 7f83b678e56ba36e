"""Settings of the engine: how long it trains, how much at a time, and how it measures."""

from dataclasses import dataclass

from metarun.config.fields import choice, number


@dataclass(kw_only=True)
class EngineSettings:
    """The keys of ``conf/engine/*.yaml``; steps are meta-updates everywhere."""

    steps: int = number(least=1)
    meta_batch_size: int = number(least=1)
    order: str = choice("shuffled", "sequential")
    task_chunk: int | None = number(least=1)
    val_every: int = number(least=1)
    val_episodes: int = number(least=2)
    test_episodes: int = number(least=2)
    checkpoint_every: int = number(least=1)
    log_every: int = number(least=1)
    transductive: bool
    gradient_clip: float | None = number(above=0)

    @property
    def mode(self) -> str:
        """What to say beside a figure."""
        return "transductive" if self.transductive else "inductive"
