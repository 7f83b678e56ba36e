"""Checking a composed configuration and building typed settings from it."""

import dataclasses
import importlib
import math
import traceback
import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

from metarun.config.groups import GROUPS, PARTS, ROOT_KEYS, TESTS, Root, full_names, option_of_test
from metarun.config.modes import refuse_misplaced
from metarun.core.errors import UserError
from metarun.core.names import FOLLOWED, nearest, shown, unknown_key, unknown_root
from metarun.setup.settings import Settings


class _Mismatch(Exception):
    """A value is not of the kind, or not in the range, that its field asks for."""


class _Unreadable(Exception):
    """A field is of a type that no configuration holds."""


def check(plain: Mapping[str, Any]) -> Settings:
    """Settings from a resolved configuration in builtin types, as `metarun.config.compose.plain` gives it.

    Raises `UserError` for the first key that is unknown, missing, of the wrong type or out of range, and for
    combinations of ``mode``, ``checkpoint`` and ``resume`` that mean nothing.
    """
    choices: Mapping[str, str | None] = plain.get("choices") or {}
    nodes = {name: node for name, node in plain.items() if name not in ("choices", FOLLOWED)}
    everywhere = full_names(nodes)
    for name, node in nodes.items():
        if name in ("experiment", "debug"):
            raise UserError(f"{name}={choices.get(name)}: its file must begin with the line '# @package _global_'")
        if name not in (*PARTS, TESTS, *ROOT_KEYS):
            raise unknown_root(name, GROUPS, ROOT_KEYS, everywhere)
        if name in PARTS and not isinstance(node, Mapping):
            raise UserError(f"{name}={shown(node)}: choose one of this group's options (metarun --help lists them)")
    for name in PARTS:
        if name not in nodes:
            raise UserError(f"{name}: no option chosen; choose one of this group's (metarun --help lists them)")

    root = _build(Root, {key: nodes[key] for key in ROOT_KEYS if key in nodes}, "", None, everywhere)
    refuse_misplaced(root.mode, root.checkpoint, root.resume)
    parts = {name: part(name, nodes[name], choices.get(name), everywhere) for name in PARTS}
    tests = {
        name: part(f"{TESTS}.{name}", node, option_of_test(choices, name), everywhere)
        for name, node in (nodes.get(TESTS) or {}).items()
    }
    return Settings(**vars(root), **parts, test_dataset=tests, plain=dict(plain))


def part(name: str, node: Mapping[str, Any], option: str | None, everywhere: list[str]) -> Any:
    """The instance that a group's node describes; ``everywhere``: full names of keys, to find near ones among.

    Raises `UserError`.
    """
    if not isinstance(node.get("_target_"), str):
        raise UserError(f"{name}={option}: its file has no class (add a line '_target_: package.module.Class')")
    kind = _locate(name, option, node["_target_"])
    return _build(kind, {key: value for key, value in node.items() if key != "_target_"}, name, option, everywhere)


def _locate(group: str, option: str | None, target: str) -> type:
    module, _, name = target.rpartition(".")
    try:
        there = importlib.import_module(module)
    except Exception as error:  # whatever a user's own module may raise
        raise UserError(f"{group}={option}: _target_ {target} cannot be imported: {_why(error)}") from error
    kind = getattr(there, name, None)
    if kind is None:
        hint = nearest(name, vars(there))
        raise UserError(f"{group}={option}: _target_ {target} cannot be imported: no '{name}' in {module}{hint}")
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise UserError(f"{group}={option}: _target_ {target} is not a dataclass")
    lacking = [each for each in dir(kind) if getattr(getattr(kind, each, None), "__isabstractmethod__", False)]
    if lacking:
        raise UserError(f"{group}={option}: {target} lacks methods of its base class: {', '.join(lacking)}")
    return kind


def _why(error: Exception) -> str:
    """What went wrong in importing a module, with the file and line unless the message says enough."""
    if isinstance(error, ImportError | ValueError):
        return str(error)
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{last.filename}, line {last.lineno}: {type(error).__name__}: {error}"


def _build(kind: Any, node: Mapping[str, Any], prefix: str, option: str | None, everywhere: list[str]) -> Any:
    """An instance of a dataclass from a mapping that must hold its fields, all of them and nothing else."""
    try:
        hints = get_type_hints(kind)
    except NameError as error:
        raise UserError(f"{prefix}={option}: {_called(kind)} has a field whose type is not known: {error}") from error
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    for key, value in node.items():
        if key not in fields:
            raise unknown_key(prefix, option, str(key), value, list(fields), everywhere)
    values = {}
    for key, field in fields.items():
        full = f"{prefix}.{key}" if prefix else key
        if key not in node:
            raise UserError(f"{full}: missing; {described(hints[key], field.metadata)} is expected")
        try:
            values[key] = _converted(node[key], hints[key], field.metadata, full, everywhere)
        except _Unreadable:
            raise UserError(
                f"{full}: a field of type {hints[key]} in {_called(kind)} cannot be read from a configuration; use "
                "int, float, bool, str, lists or dicts of these, or a dataclass"
            ) from None
        except _Mismatch:
            expected = described(hints[key], field.metadata)
            raise UserError(
                f"{full}={shown(node[key])}: {expected} is expected{_hint(node[key], hints[key], field.metadata)}"
            ) from None
    return kind(**values)


def _called(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _converted(value: Any, hint: Any, limits: Mapping[str, Any], full: str, everywhere: list[str]) -> Any:
    """The value as its field wants it; raises `_Mismatch` where it is not what the annotation and limits say."""
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _first_that_fits(value, get_args(hint), limits, full, everywhere)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise _Mismatch
        return _build(hint, value, full, None, everywhere)
    if origin is list or hint is list:
        if not isinstance(value, list):
            raise _Mismatch
        items = (get_args(hint) or (Any,))[0]
        return [_converted(item, items, limits, full, everywhere) for item in value]
    if origin is dict or hint is dict:
        if not isinstance(value, Mapping):
            raise _Mismatch
        items = (get_args(hint) or (str, Any))[1]
        return {str(key): _converted(item, items, limits, full, everywhere) for key, item in value.items()}
    return _scalar(value, hint, limits)


def _first_that_fits(
    value: Any, hints: tuple[Any, ...], limits: Mapping[str, Any], full: str, everywhere: list[str]
) -> Any:
    if value is None and type(None) in hints:
        return None
    if isinstance(value, bool) and bool in hints:
        return value
    for hint in hints:
        if hint is not type(None):
            try:
                return _converted(value, hint, limits, full, everywhere)
            except _Mismatch:
                continue
    raise _Mismatch


def _scalar(value: Any, hint: Any, limits: Mapping[str, Any]) -> Any:
    if hint is bool:
        if not isinstance(value, bool):
            raise _Mismatch
        return value
    if hint is str:
        return _text(value, limits)
    if hint in (int, float):
        kinds = (int,) if hint is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not _within(value, limits):
            raise _Mismatch
        return hint(value)
    raise _Unreadable


def _text(value: Any, limits: Mapping[str, Any]) -> str:
    allowed = limits.get("allowed")
    # YAML and Hydra read the words true and false as booleans, also where they are two of several words.
    if allowed and isinstance(value, bool):
        value = shown(value)
    if not isinstance(value, str) or (allowed and value not in allowed):
        raise _Mismatch
    return value


def _within(value: float, limits: Mapping[str, Any]) -> bool:
    least, most, above, below = (limits.get(name) for name in ("least", "most", "above", "below"))
    return (
        math.isfinite(value)
        and (least is None or value >= least)
        and (most is None or value <= most)
        and (above is None or value > above)
        and (below is None or value < below)
    )


_SEVERAL = {int: "integers", float: "numbers", str: "strings", bool: "booleans"}


def described(hint: Any, limits: Mapping[str, Any]) -> str:
    """What a field accepts, as text: "an integer of at least 1 or null"."""
    if get_origin(hint) in (Union, types.UnionType):
        inner = [described(item, limits) for item in get_args(hint) if item is not type(None)]
        return " or ".join(inner + ["null"] * (type(None) in get_args(hint)))
    if get_origin(hint) is list:
        return f"a list of {_several(get_args(hint)[0], limits)}"
    if hint is bool:
        return "true or false"
    if hint is str:
        return f"one of {', '.join(limits['allowed'])}" if limits.get("allowed") else "a string"
    if hint in (int, float):
        return ("an integer" if hint is int else "a number") + _range(limits)
    return "a mapping of keys" if dataclasses.is_dataclass(hint) or get_origin(hint) is dict else "a value"


def _several(hint: Any, limits: Mapping[str, Any]) -> str:
    """What the items of a list are: "numbers above 0"."""
    if get_origin(hint) is list:
        return f"lists of {_several(get_args(hint)[0], limits)}"
    return _SEVERAL.get(hint, "values") + (_range(limits) if hint in (int, float) else "")


def _range(limits: Mapping[str, Any]) -> str:
    words = {"least": "of at least", "above": "above", "most": "at most", "below": "below"}
    told = [f"{word} {limits[name]}" for name, word in words.items() if limits.get(name) is not None]
    return " " + " and ".join(told) if told else ""


def _hint(value: Any, hint: Any, limits: Mapping[str, Any]) -> str:
    takes_text = hint is str or str in get_args(hint)
    if limits.get("allowed"):
        return nearest(str(value), limits["allowed"])
    if takes_text and isinstance(value, int | float):
        return f"; quote it: \"'{shown(value)}'\""
    return ""
