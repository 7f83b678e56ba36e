"""From a trial's values to its jobs: one, or one for each seed."""

from collections.abc import Mapping, Sequence

from metarun.config.names import short
from metarun.sweep.names import job_name
from metarun.sweep.search import SEED, Proposal

Value = str | float | int


def jobs_of(number: int, values: Mapping[str, Value], fixed: Sequence[str], seeds: Sequence[str]) -> list[Proposal]:
    """The jobs of trial ``number`` (from 0). Their names tell no more of each value than one wants to read."""
    before = f"trial-{number + 1:03}"
    own = [f"{key}={value}" for key, value in values.items()]
    names = short(list(values), taken=[SEED])
    told = {names[key]: value if isinstance(value, str) else f"{value:.4g}" for key, value in values.items()}
    if not seeds:
        return [Proposal(job_name(told, before), list(fixed), own, number)]
    return [
        Proposal(job_name({**told, SEED: seed}, before), list(fixed), [*own, f"{SEED}={seed}"], number)
        for seed in seeds
    ]
