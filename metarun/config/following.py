"""Defaults that follow from what is composed: keys whose value is ``auto`` get one from the other parts chosen.

Any option's YAML file may say what suits it elsewhere, under the key `PREFERS`:

    _prefers_:
      model.normalisation: global

For each key that may be ``auto`` in this sense, `RULES` has a function of the whole configuration. A value that is
typed, or set by an ``experiment/``, is not ``auto`` and stays.
"""

from collections.abc import Callable, Mapping
from typing import Any

from metarun.config.names import shown
from metarun.config.settings import PARTS

AUTO = "auto"
PREFERS = "_prefers_"
FOLLOWED = "followed"
"""Where a run's configuration says which of its values followed from what."""

Choices = Mapping[str, str | None]
Found = tuple[Any, str]
"""A value, and what it follows from: ``algorithm=protonet``, or ``no preference``."""


def preferred(key: str, otherwise: Any, config: Mapping[str, Any], choices: Choices) -> Found:
    """The first preference for a key, the algorithm's before those of the other groups; else ``otherwise``."""
    for group in ("algorithm", *(name for name in PARTS if name != "algorithm")):
        node = config.get(group)
        preferences = node.get(PREFERS) if isinstance(node, Mapping) else None
        if isinstance(preferences, Mapping) and key in preferences:
            return preferences[key], f"{group}={choices.get(group)}"
    return otherwise, "no preference"


def _normalisation(config: Mapping[str, Any], choices: Choices) -> Found:
    engine = config.get("engine")
    if isinstance(engine, Mapping) and engine.get("transductive") is True:
        return "batch", "engine.transductive=true"
    return preferred("model.normalisation", "batch", config, choices)


RULES: dict[str, Callable[[Mapping[str, Any], Choices], Found]] = {"model.normalisation": _normalisation}


def followed(config: Mapping[str, Any], choices: Choices) -> dict[str, Found]:
    """What each key that is ``auto`` gets."""
    found = {}
    for key, rule in RULES.items():
        group, _, name = key.partition(".")
        node = config.get(group)
        if isinstance(node, Mapping) and node.get(name) == AUTO:
            found[key] = rule(config, choices)
    return found


def as_comments(found: Mapping[str, Found]) -> list[str]:
    """What `followed` found as comments of YAML, a line each."""
    return [f"# {key}: {shown(value)} (auto: {origin})" for key, (value, origin) in found.items()]


def settle(values: dict[str, Any], choices: Choices) -> None:
    """Replace what is ``auto`` in a configuration of builtin types, say where it came from, and drop preferences."""
    found = followed(values, choices)
    for key, (value, _) in found.items():
        group, _, name = key.partition(".")
        values[group][name] = value
    for node in values.values():
        if isinstance(node, dict):
            node.pop(PREFERS, None)
    if found:
        values[FOLLOWED] = {key: origin for key, (_, origin) in found.items()}
