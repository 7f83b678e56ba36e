"""The groups of a configuration and the keys that belong to none, by name."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from metarun.core.fields import number

PARTS = (
    "dataset",
    "model",
    "embedding",
    "hypernet",
    "algorithm",
    "regularizer",
    "device",
    "engine",
    "tracking",
    "hpo",
    "collect",
)
"""The config groups of which every run has exactly one option, in the order in which they are listed."""

SWEEP = "sweep"
"""The group that says how ``metarun -m`` chooses its jobs; no run has it among its settings."""

TESTS = "test_dataset"
"""The group of further data sets that a run is meta-tested on: none, one or several of its options."""

GROUPS = (*PARTS, TESTS, SWEEP, "experiment", "debug")
"""All groups of this package; the last two only set keys of the others."""


@dataclass(kw_only=True)
class Root:
    """The keys that belong to no group."""

    seed: int = number(least=0, most=2**63 - 1)
    mode: str
    likelihood: str
    """One that the labels can have (`metarun.core.kinds.likelihoods`)."""
    checkpoint: str | None
    resume: str | None

    @property
    def trains(self) -> bool:
        """Whether φ is to be meta-trained; if not, it is that of a checkpoint."""
        return self.checkpoint is None


def option_of_test(choices: Mapping[str, Any], name: str) -> str | None:
    """The option of the group dataset that ``test_dataset.NAME`` is, among the choices that Hydra reports."""
    return choices.get(f"dataset@{TESTS}.{name}")


ROOT_KEYS = tuple(key.name for key in fields(Root))


def full_names(nodes: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Every key under a configuration's groups, in full: ``dataset.shots``."""
    names = []
    for name, node in nodes.items():
        if name.startswith("_"):
            continue
        if isinstance(node, Mapping):
            names += full_names(node, f"{prefix}{name}.")
        elif prefix:
            names.append(prefix + name)
    return names
