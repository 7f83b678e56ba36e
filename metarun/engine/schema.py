"""Values read from a file, checked against type hints."""

import dataclasses
import types
from typing import Any, Union, get_args, get_origin, get_type_hints


def conform(value: Any, hint: Any, name: str) -> Any:
    """``value`` if it is what ``hint`` says; a dataclass is made from a dict that has its fields and no others.

    Hints may be Any, None, bool, int, float (which takes integers too), str, Tensor, dataclasses, unions of these, and
    lists and dicts of them, nested. Nothing is converted. Raises `ValueError` that says which value is wrong, by
    ``name``, and what it should be.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _any_of(value, inner, name)
    if origin is list:
        if type(value) is not list:
            raise _expected("a list", name)
        return [conform(item, inner[0], f"{name}[{place}]") for place, item in enumerate(value)]
    if origin is dict:
        if type(value) is not dict:
            raise _expected("a dict", name)
        return {
            conform(key, inner[0], f"{name} key"): conform(item, inner[1], f"{name}.{key}")
            for key, item in value.items()
        }
    if dataclasses.is_dataclass(hint):
        return _made(value, hint, name)
    allowed = (int, float) if hint is float else (type(None) if hint is None else hint,)
    if type(value) not in allowed:
        raise _expected(getattr(hint, "__name__", str(hint)), name)
    return value


def _any_of(value: Any, hints: tuple[Any, ...], name: str) -> Any:
    if type(None) in hints and value is None:
        return None
    others = [hint for hint in hints if hint is not type(None)]
    for hint in others[:-1]:
        try:
            return conform(value, hint, name)
        except ValueError:
            continue
    return conform(value, others[-1], name)


def _made(value: Any, kind: Any, name: str) -> Any:
    if type(value) is not dict:
        raise _expected("a dict", name)
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    if set(value) != set(names):
        odd = min(map(str, set(value) ^ set(names)))
        raise ValueError(f"{name}: '{odd}' is {'unknown' if odd in map(str, value) else 'missing'}")
    return kind(**{each: conform(value[each], hints[each], f"{name}.{each}") for each in names})


def _expected(what: str, name: str) -> ValueError:
    return ValueError(f"{name}: {what} is expected")
