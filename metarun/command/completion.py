"""Shell completion of groups, options, keys, values and flags.

Hydra's scripts for bash, zsh and fish ask for it with ``metarun -sc query=SHELL`` whenever somebody presses Tab.
Whatever is wrong with the line, there are only fewer answers: a message would stand amid what is being typed.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.config_loader import ConfigLoader
from omegaconf import OmegaConf

from metarun.config.compose import compose, loading, parse
from metarun.config.groups import TESTS
from metarun.config.hydra import get_args_parser
from metarun.config.modes import MODES
from metarun.core.errors import UserError
from metarun.core.names import shown

_PATHS = ("resume", "checkpoint", "dataset.root", "dataset.path")
_TAKE_FILES = ("--config-dir", "-cd", "--config-path", "-cp")
_CFG = ("job", "hydra", "all")
_LIST_GROUPS = (TESTS,)
"""Groups of which several options can be chosen: ``test_dataset=[omniglot,glyphs]``."""


def candidates(line: str) -> list[str]:
    """The words that the last one of a line, begun or not, may become. The line's first word is the program."""
    typed = _Typed.of(line)
    if typed.before and typed.before[-1] in _TAKE_FILES:
        return []  # the shell's own
    if typed.before and typed.before[-1] in ("--cfg", "-c"):
        found: Iterable[str] = _CFG
    elif typed.word.startswith("-"):
        found = (flag for flag in get_args_parser()._option_string_actions if flag.startswith("--"))
    else:
        found = _settings(typed)
    return sorted(word for word in set(found) if word.startswith(typed.word))


class _Typed(NamedTuple):
    """A line taken apart. word: what is being typed. overrides: the settings before it."""

    word: str
    before: list[str]
    overrides: list[str]
    config_dir: str | None

    @classmethod
    def of(cls, line: str) -> "_Typed":
        words = line.split()[1:]
        word = words.pop() if words and not line[-1].isspace() else ""
        folder = None
        for place, text in enumerate(words):
            if text in ("--config-dir", "-cd"):
                folder = next(iter(words[place + 1 :]), None)
            elif text.startswith("--config-dir="):
                folder = text.partition("=")[2]
        overrides = [text for text in words if not text.startswith("-") and text != folder and _is_setting(text)]
        return cls(word, words, overrides, folder)


def _is_setting(text: str) -> bool:
    with suppress(UserError):
        return bool(parse([text]))
    return False


def _settings(typed: _Typed) -> list[str]:
    sign = typed.word[:1] if typed.word[:1] in ("+", "~") else ""
    word = typed.word.lstrip("+~")
    tree = _tree(typed)
    name, equals, value = word.partition("=")
    with loading(typed.config_dir if _is_folder(typed.config_dir) else None) as loader:
        found = _values(name, value, tree, loader) if equals else [*_groups(name, loader), *_keys(name, tree)]
    return [f"{sign}{text}" for text in found]


def _is_folder(path: str | None) -> bool:
    return path is not None and Path(path).is_dir()


def _tree(typed: _Typed) -> dict[str, Any]:
    """The configuration of what was typed before, or of its groups alone, or of nothing where it cannot be composed."""
    groups = [text for text in typed.overrides if "." not in text.partition("=")[0]]
    folder = typed.config_dir if _is_folder(typed.config_dir) else None
    for overrides in (typed.overrides, groups, []):
        with suppress(UserError):
            tree = OmegaConf.to_container(compose(overrides, folder, sweep=True), resolve=False)
            assert isinstance(tree, dict)
            return {str(key): node for key, node in tree.items()}
    return {}


def _groups(name: str, loader: ConfigLoader) -> list[str]:
    parent = name.rpartition("/")[0]
    names = [f"{parent}/{each}" if parent else each for each in loader.list_groups(parent)]
    # What a part has of groups within, its own files choose from.
    return [f"{each}{'/' if each == 'hydra' else '='}" for each in names if loader.get_group_options(each)]


def _keys(name: str, tree: Mapping[str, Any]) -> list[str]:
    """The keys beside the one that is being typed: with a dot where there are others below, else with ``=``."""
    above, node = name.rpartition(".")[0], tree
    for key in above.split(".") if above else []:
        node = node.get(key, {}) if isinstance(node, Mapping) else {}
    if not isinstance(node, Mapping):
        return []
    prefix = f"{above}." if above else ""
    return [
        f"{prefix}{key}{'.' if isinstance(below, Mapping) and below else '='}"
        for key, below in node.items()
        if not str(key).startswith("_")
    ]


def _values(name: str, value: str, tree: Mapping[str, Any], loader: ConfigLoader) -> list[str]:
    if name in _PATHS or value.startswith(("/", "./", "../", "~/")):
        return [f"{name}={path}" for path in _paths(value)]
    options: Sequence[str] = loader.get_group_options(name)
    if not options:
        options = _kept(name, tree)
    bracket = value[:1] if name in _LIST_GROUPS and value.startswith("[") else ""
    earlier, comma, _ = value.removeprefix(bracket).rpartition(",")  # of a sweep, or of a list
    return [f"{name}={bracket}{earlier}{comma}{option}" for option in options if option not in earlier.split(",")]


def _kept(name: str, tree: Mapping[str, Any]) -> list[str]:
    """The values of a switch, or the one that a key has."""
    if name == "mode":
        return list(MODES)
    node: Any = tree
    for key in name.split("."):
        if not isinstance(node, Mapping) or key not in node:
            return []
        node = node[key]
    if isinstance(node, bool):
        return ["false", "true"]
    text = shown(node)
    return [] if isinstance(node, Mapping) or not text or any(letter.isspace() for letter in text) else [text]


def _paths(begun: str) -> list[str]:
    """Files and folders (with a slash) that complete the path, as a user would type them."""
    above, slash, name = begun.rpartition("/")
    with suppress(OSError, RuntimeError):
        places = sorted(Path(above + slash or ".").expanduser().iterdir())
        return [
            f"{above}{slash}{place.name}{'/' if place.is_dir() else ''}"
            for place in places
            if place.name.startswith(name) and place.name.startswith(".") == name.startswith(".")
        ]
    return []
