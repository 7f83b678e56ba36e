"""The jobs of a trial: one, or one per seed."""

from collections.abc import Iterable, Mapping, Sequence

from metarun.config.zipped_keys import keys_of, separate
from metarun.core.names import short_keys
from metarun.sweep.names import job_name
from metarun.sweep.search import SEED, Proposal

Value = str | float | int


def jobs_of(number: int, values: Mapping[str, Value], fixed: Sequence[str], seeds: Sequence[str]) -> list[Proposal]:
    """The jobs of trial ``number`` (from 0). Values are abbreviated in their names."""
    values, before = _apart(values), f"trial-{number + 1:03}"
    varied = [f"{key}={value}" for key, value in values.items()]
    names = short_keys(list(values), taken=[SEED])
    told = {names[key]: value if isinstance(value, str) else f"{value:.4g}" for key, value in values.items()}
    if not seeds:
        return [Proposal(job_name(told, before), list(fixed), varied, number)]
    return [
        Proposal(job_name({**told, SEED: seed}, before), list(fixed), [*varied, f"{SEED}={seed}"], number)
        for seed in seeds
    ]


def single_keys(keys: Iterable[str]) -> list[str]:
    """The keys of settings, where some of ``keys`` are of several that are swept together."""
    return [single for key in keys for single in keys_of(key) or (key,)]


def _apart(values: Mapping[str, Value]) -> dict[str, Value]:
    """The values by single keys, where some are swept together."""
    found: dict[str, Value] = {}
    for key, value in values.items():
        texts = separate(f"{key}={value}") if keys_of(key) else []
        found |= dict(text.split("=", 1) for text in texts) if texts else {key: value}
    return found
