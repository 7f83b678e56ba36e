"""Fields of settings with their valid values.

Every part of an experiment is a dataclass whose fields are the keys of its YAML file. The YAML file holds the default,
the field its type and, through the helpers here, its range.
"""

from dataclasses import field
from typing import Any


def number(
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    literals: tuple[str, ...] = (),
) -> Any:
    """A number ``>= least``, ``<= most``, ``> above`` and ``< below``, where given; or one of ``literals``."""
    return field(metadata={"least": least, "most": most, "above": above, "below": below, "allowed": literals})


def choice(*allowed: str) -> Any:
    """A string that must be one of ``allowed``."""
    return field(metadata={"allowed": allowed})
