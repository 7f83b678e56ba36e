"""Messages about keys: the typed key, similar ones, and the available ones."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from metarun.core.errors import UserError

FOLLOWED = "followed"
"""Where a run's configuration says which of its values followed from what."""
TASK_KINDS = ("classification", "regression")
LIKELIHOODS = ("categorical", "squared", "gaussian")

_KEY = re.compile(r"[A-Za-z_][\w-]*")


def is_key(name: str) -> bool:
    """Whether a name can be the key of a setting."""
    return _KEY.fullmatch(name) is not None and not is_special(name)


def is_special(name: str) -> bool:
    """Whether Hydra acts upon a key of this name, such as ``_target_``."""
    return name.startswith("_") and name.endswith("_")


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'right'?"`` where something known resembles ``name``, else the empty string."""
    found = get_close_matches(name, list(known), n=1)
    return f"; did you mean '{found[0]}'?" if found else ""


def listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def shown(value: Any) -> str:
    """A value as a person would type it on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ",".join(shown(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{shown(item)}" for key, item in value.items()) + "}"
    return "''" if value == "" else str(value)


def unknown_root(typed: str, groups: Sequence[str], keys: Sequence[str], everywhere: Iterable[str] = ()) -> UserError:
    """The error for a first name that is neither a group nor a key of the root.

    ``everywhere`` holds full names such as ``dataset.shots``, for those who left out the group.
    """
    hint = nearest(typed, [*groups, *keys])
    if not hint:
        by_ending = {full.rpartition(".")[2]: full for full in everywhere}
        found = get_close_matches(typed, by_ending, n=1)
        hint = f"; did you mean '{by_ending[found[0]]}'?" if found else ""
    return UserError(f"no config group or key '{typed}'{hint} (groups: {listed(groups)}; keys: {listed(keys)})")


def unknown_key(
    parent: str,
    option: str | None,
    key: str,
    value: Any,
    known: Sequence[str] | None,
    everywhere: Iterable[str] = (),
    below: str = "",
) -> UserError:
    """The error for a key that a group (or a mapping in it) does not have.

    known: its keys, ``None`` where it is a value. below: what was typed behind the key, as in ``.tasks.pool``.
    """
    typed = f"{parent}.{key}{below}"
    near = [name for name in everywhere if name.endswith(f".{key}{below}") and name != typed]
    near = near or [f"{parent}.{name}{below}" for name in get_close_matches(key, known or (), n=1)]
    hint = f"; did you mean '{near[0]}'?" if near else ""
    where = f"{parent}={option}" if option else parent
    where, keys = (f"{where}, which is a value", "") if known is None else (where, f" (keys: {listed(known)})")
    return UserError(f"{typed}={shown(value)}: no key '{key}' in {where}{hint}{keys}")


def unknown_option(group: str, option: str, options: Sequence[str]) -> UserError:
    """The error for a group's option that does not exist."""
    return UserError(f"{group}={option}: no such {group}{nearest(option, options)} (options: {listed(options)})")


def short_keys(names: Sequence[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """The shortest suffix of each full name that is unique and not in ``taken``."""
    reserved = set(taken)
    endings = {name: [name.split(".", skip)[-1] for skip in range(name.count("."), -1, -1)] for name in names}
    count: dict[str, int] = {}
    for choices in endings.values():
        for ending in choices:
            count[ending] = count.get(ending, 0) + 1
    return {
        name: next((ending for ending in choices if count[ending] == 1 and ending not in reserved), name)
        for name, choices in endings.items()
    }
