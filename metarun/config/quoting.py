"""Settings and paths as a user has to type them, quoted for Hydra's override grammar and for the shell."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from metarun.core.names import shown

CONFIG_DIR = "config_dir"
"""Where a run's configuration names the folder given as ``--config-dir``, if one was."""

PATH_KEYS = ("resume", "checkpoint")
"""Keys whose values are paths and are read as typed, whatever characters they contain."""


def quoted(text: str, quote: Quote = Quote.single) -> str:
    """Any text as a value in Hydra's override grammar: once composed and resolved, the value equals the text."""
    return QuotedString(text=escaped(text), quote=quote).with_quotes()


def escaped(text: str) -> str:
    """Any text as a value of a configuration that is to be resolved: no interpolation is found in it."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)  # OmegaConf reads n backslashes before ${ as n // 2


def unescaped(text: str) -> str:
    """The text that `escaped` was given: that of `quoted`, from the value that Hydra's parser makes of it."""
    return re.sub(r"(\\*)\\\$\{", lambda found: found[1][::2] + "${", text)


def setting(key: str, value: Any) -> str:
    """``key=value`` in Hydra's grammar, with quotes where they are needed. Lists may contain texts."""
    if isinstance(value, list | tuple):
        return f"{key}=[{','.join(_item(key, item) for item in value)}]"
    return f"{key}={_text(key, value) if isinstance(value, str) else shown(value)}"


def path_setting(key: str, path: Path | str) -> str:
    """``key=path`` for a key of `PATH_KEYS`: the path itself, unless it would be taken for something else."""
    text = str(path)
    if text == "null" or text[:1] in ("'", '"') or text != text.strip():
        return f"{key}={quoted(text, Quote.double)}"
    return f"{key}={text}"


def path_argument(path: Path | str) -> str:
    """A path as a positional argument, which cannot be taken for an option."""
    text = str(path)
    return f"./{text}" if text.startswith("-") else text


def to_paste(*words: str) -> str:
    """Arguments as a line for the shell."""
    return shlex.join(words)


def with_plain_paths(overrides: Sequence[str], *, sweep: bool) -> list[str]:
    """The overrides with the paths of `PATH_KEYS` quoted, so that Hydra's grammar takes them as they were typed.

    A path in quotes of Hydra's, or with its escapes, may be typed too. In a sweep several values stay several, unless
    they are one path that exists.
    """
    return [_with_plain_path(text, sweep) for text in overrides]


def suggestion(text: str) -> str | None:
    """What to type instead of an override that Hydra cannot parse, if its value is text or a list of texts."""
    key, _, value = text.partition("=")
    if "+" in key.lstrip("+"):  # of keys that are swept together
        return None
    inside = value[1:-1] if value.startswith("[") and value.endswith("]") else None
    better = setting(key, value if inside is None else [_stripped(item) for item in inside.split(",")])
    return to_paste(better) if _parsed(better) is not None else None


def _with_plain_path(text: str, sweep: bool) -> str:
    key, _, typed = text.partition("=")
    if key not in PATH_KEYS or typed in ("", "null") or typed[:1] in ("'", '"'):
        return text
    if not Path(typed).exists():
        parsed = _parsed(text)
        if parsed is not None and parsed.is_sweep_override():
            if sweep:
                return text
        elif parsed is not None and isinstance(value := parsed.value(), str) and Path(value).exists():
            return text
    return setting(key, typed)


def _text(key: str, text: str) -> str:
    """A text as a value: bare if Hydra reads it as that text, else in quotes."""
    if "${" not in text and text != "???":
        parsed = _parsed(f"{key}={text}")
        if parsed is not None and not parsed.is_sweep_override() and parsed.value() == text:
            return text
    return quoted(text, Quote.single if '"' in text and "'" not in text else Quote.double)


def _item(key: str, item: Any) -> str:
    if not isinstance(item, str):
        return shown(item)
    # Bare only if it is one item of a list too: "a,b" would be two.
    bare = _text(key, item)
    parsed = _parsed(f"{key}=[{bare}]")
    return bare if bare != item or (parsed is not None and parsed.value() == [item]) else quoted(item, Quote.double)


def _stripped(item: str) -> str:
    """An item of a list that was typed, without blanks and quotes around it."""
    item = item.strip()
    return item[1:-1] if len(item) > 1 and item[0] == item[-1] and item[0] in "'\"" else item


def _parsed(text: str) -> Override | None:
    try:
        (override,) = OverridesParser.create().parse_overrides([text])
    except (HydraException, ValueError):
        return None
    return override


def command_line(config: Mapping[str, Any], *overrides: str) -> str:
    """The line to paste for going on with a run of this configuration, with the ``--config-dir`` that it was given."""
    folder = config.get(CONFIG_DIR)
    if folder is None:
        return to_paste("metarun", *overrides)
    place = Path(folder)
    relative = place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place
    return to_paste("metarun", "--config-dir", path_argument(relative), *overrides)
