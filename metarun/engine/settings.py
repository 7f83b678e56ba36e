"""Settings of the engine: training length, batch sizes and evaluation."""

from dataclasses import dataclass

from metarun.core.errors import UserError
from metarun.core.fields import choice, number

SKIPPED = 4
"""Meta-updates before those that are profiled: they compile, warm caches and, the last, the profiler itself."""


@dataclass(kw_only=True)
class EngineSettings:
    """The keys of ``conf/engine/*.yaml``; steps are meta-updates everywhere."""

    steps: int = number(least=1)
    meta_batch_size: int = number(least=1)
    train_tasks: int | None = number(least=1)
    episode_seed: int = number(least=0, most=2**63 - 1)
    order: str = choice("shuffled", "sequential")
    schedule_per: str = choice("group", "run")
    task_chunk: int | str = number(least=1, literals=("auto",))
    val_every: int = number(least=1)
    val_episodes: int = number(least=2)
    test_episodes: int = number(least=2)
    checkpoint_every: int = number(least=1)
    log_every: int = number(least=1)
    transductive: bool
    on_divergence: str = choice("warn", "stop")
    gradient_clip: float | None = number(above=0)
    profile_steps: int = number(least=0)

    def __post_init__(self) -> None:
        if self.train_tasks is not None and self.order == "sequential":
            raise UserError(
                f"engine.train_tasks={self.train_tasks}: repeated tasks have no sequence of groups; "
                "set engine.train_tasks=null or engine.order=shuffled"
            )
        if self.profile_steps and self.steps < SKIPPED + self.profile_steps:
            raise UserError(
                f"engine.profile_steps={self.profile_steps}: the first {SKIPPED} meta-updates are not profiled; give "
                f"engine.steps={SKIPPED + self.profile_steps} or more"
            )

    @property
    def mode(self) -> str:
        """What to say beside a figure."""
        return "transductive" if self.transductive else "inductive"
