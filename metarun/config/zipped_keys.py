"""Values swept together: ``'hypernet+embedding=none+none,film+support'`` is two choices, not four.

Keys are joined by ``+``, and so are the values of each choice. Choices whose values contain a ``+`` or are lists or
quoted are given as lists: ``'model.hidden+algorithm.inner_lr=[[64,64],0.01],[[32],0.1]'``.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException

from metarun.core.errors import UserError

_KEYS = re.compile(r"[A-Za-z][\w./-]*(\+[A-Za-z][\w./-]*)+")


def keys_of(text: str) -> tuple[str, ...]:
    """The keys that an override sets together; empty if it sets one, as all of Hydra's do."""
    keys = text.partition("=")[0]
    return tuple(keys.split("+")) if _KEYS.fullmatch(keys) else ()


def separate(text: str) -> list[str]:
    """One override of Hydra's for each key, each with as many values as there are choices.

    ``["hypernet=none,film", "embedding=none,support"]`` for the example above. Raises `UserError`, and Hydra's error
    for values that are not in its grammar.
    """
    keys, values = keys_of(text), text.partition("=")[2]
    for key in keys:
        if key == "seed" or key.split(".")[0].split("/")[0] in ("sweep", "hydra"):
            raise UserError(f"{text}: {key}: not a key of the configuration, so it cannot be swept with another")
    if len(set(keys)) < len(keys):
        raise UserError(f"{text}: a key is given twice")
    rows = [_parts(choice, len(keys), text) for choice in _choices(_parsed(f"choices={values}"), text)]
    return [f"{key}={','.join(row[place] for row in rows)}" for place, key in enumerate(keys)]


def with_single_choices_apart(overrides: Sequence[str]) -> list[str]:
    """The overrides, in which keys that are set together to one choice are overrides of Hydra's, one for each."""
    found: list[str] = []
    for text in overrides:
        with_one = [text]
        if keys_of(text):
            with suppress(HydraException):  # which is explained where overrides are parsed
                parts = separate(text)
                if not any(_parsed(part).is_sweep_override() for part in parts):
                    with_one = parts
        found += with_one
    return found


def joined(keys: Sequence[str], row: Sequence[str]) -> tuple[str, str]:
    """The key and the value of one choice, the inverse of `separate`."""
    plain = all(re.fullmatch(r"[\w./-]+", value) for value in row)
    return "+".join(keys), "+".join(row) if plain else f"[{','.join(row)}]"


def _parsed(text: str) -> Override:
    (parsed,) = OverridesParser.create().parse_overrides([text])
    return parsed


def _choices(parsed: Override, text: str) -> list[Any]:
    value = parsed._value
    if isinstance(value, ChoiceSweep):
        return list(value.list)
    if parsed.is_sweep_override():
        raise UserError(f"{text}: joined values are given as in a+b,c+d")
    return [value]


def _parts(choice: Any, count: int, text: str) -> list[str]:
    """The values of one choice, as they are typed."""
    if isinstance(choice, list):
        parts = [Override._get_value_element_as_str(part) for part in choice]
    else:
        texts = choice.split("+") if isinstance(choice, str) else [str(choice)]
        parts = [Override._get_value_element_as_str(part) for part in texts]
    if len(parts) != count or not all(parts):
        raise UserError(
            f"{text}: {count} values joined by + are expected, not {Override._get_value_element_as_str(choice)}; "
            "values that contain a + are given as lists, as in [a,b],[c,d]"
        )
    return parts
