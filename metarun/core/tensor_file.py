"""Nested dicts of tensors and plain values in one file, without pickle: safetensors, JSON and a checksum.

The file is an ordinary safetensors file. Its string metadata holds ``content``, the JSON of everything but the tensors,
and ``sha256``, the SHA-256 of the whole file, header included, taken with zeros in place of its own digits. A reader
verifies it before it parses anything. It finds damage; it does not prove who wrote the file.

JSON is extended where it would lose something: ``{"$tensor": name}``, ``{"$tuple": [...]}``, ``{"$float": "nan"}``
(``inf``, ``-inf``), and ``{"$dict": [[key, value], ...]}`` for dicts with keys that are not plain text. Finite floats
are written with the fewest digits that read back as the same number.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metarun.core.errors import UserError
from metarun.core.files import write_bytes

if TYPE_CHECKING:  # PyTorch takes seconds to import, and a file's plain part is read without it
    import torch
    from torch import Tensor

LONGEST_HEADER = 64 * 2**20
"""Bytes of names, shapes and plain values; safetensors itself stops at 100 MB."""
DEEPEST = 64
"""Levels of nesting."""

_DIGITS = 64
_CHECKSUM = re.compile(rb'"sha256":"([0-9a-f]{64})"')
"""Quotes inside any text of the header are escaped, so nothing that the file holds can look like this."""
_PICKLES = (b"PK\x03\x04", b"\x80")
"""How files of older versions begin: as PyTorch's archives of pickles, or as a bare pickle."""


class Damaged(UserError):
    """The file is not one that metarun wrote, or no longer as it was written."""


def write(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` whole or not at all.

    Values may be dicts (with keys str or int), lists, tuples, tensors, str, int, float, bool and None. Raises
    `UserError` for any other value, and for more than a reader accepts.
    """
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    text = json.dumps(_encoded(content, (), tensors), allow_nan=False, separators=(",", ":"))
    metadata = {"content": text, "sha256": "0" * _DIGITS}
    # A copy, for safetensors refuses tensors that share memory or are not contiguous.
    whole = bytearray(
        save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}, metadata)
    )
    header = int.from_bytes(whole[:8], "little")
    if header > LONGEST_HEADER:
        raise UserError(f"{path}: names and plain values take {header:,} bytes, more than {LONGEST_HEADER:,}")
    place = _place(whole[: 8 + header])
    assert place is not None
    whole[place : place + _DIGITS] = _digest(whole, place).encode()
    write_bytes(path, whole)


def read(path: Path, device: "torch.device") -> dict[str, Any]:
    """What `write` wrote, with the tensors on ``device``. Raises `UserError`; `Damaged` where it is not whole."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    whole = _verified(path)
    try:
        tensors = load(bytes(whole))
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _damaged(path, f"its tensors cannot be read: {error}") from error
    found = dict.fromkeys(tensors)
    content = _plain(path, whole, found)
    if lost := [name for name, used in found.items() if used is None]:
        raise _damaged(path, f"nothing refers to its tensor '{lost[0]}'")
    return _filled(content, {name: tensor.to(device) for name, tensor in tensors.items()})


def read_plain(path: Path) -> dict[str, Any]:
    """What `write` wrote, with None for each tensor; PyTorch is not imported. Raises as `read`."""
    return _filled(_plain(path, _verified(path), None), {})


class _Reference(str):
    """The name of a tensor."""


def _encoded(value: Any, path: tuple[str, ...], tensors: dict[str, "Tensor"]) -> Any:
    if len(path) > DEEPEST:
        raise UserError(f"{'/'.join(path[:3])}…: nested too deeply for a checkpoint")
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": str(float(value))}
    if isinstance(value, list):
        return _items(value, path, tensors)
    if isinstance(value, tuple):
        return {"$tuple": _items(value, path, tensors)}
    if isinstance(value, dict):
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: _encoded(item, (*path, key), tensors) for key, item in value.items()}
        if not all(isinstance(key, str | int) and not isinstance(key, bool) for key in value):
            raise UserError(f"{'/'.join(path)}: keys in a checkpoint must be str or int")
        return {"$dict": [[key, _encoded(item, (*path, str(key)), tensors)] for key, item in value.items()]}
    if _is_tensor(value):
        name = _free_name("/".join(path), tensors)
        tensors[name] = value
        return {"$tensor": name}
    raise UserError(
        f"{'/'.join(path)}: a checkpoint cannot hold a {type(value).__name__}; use tensors, numbers, text, lists, "
        "tuples or dicts"
    )


def _items(values: Iterable[Any], path: tuple[str, ...], tensors: dict[str, "Tensor"]) -> list[Any]:
    return [_encoded(item, (*path, str(place)), tensors) for place, item in enumerate(values)]


def _is_tensor(value: Any) -> bool:
    from torch import Tensor

    return isinstance(value, Tensor)


def _free_name(wanted: str, tensors: dict[str, "Tensor"]) -> str:
    """The wanted name in ASCII, with a number where another tensor has it already."""
    name = wanted = wanted.encode("ascii", "backslashreplace").decode()
    number = 1
    while name in tensors:
        number += 1
        name = f"{wanted}~{number}"
    return name


def _verified(path: Path) -> bytearray:
    """The bytes of a file whose checksum is right."""
    try:
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        with path.open("rb") as file:
            whole = bytearray(file.read(8))
            header = int.from_bytes(whole, "little")
            if len(whole) == 8 and header <= min(LONGEST_HEADER, path.stat().st_size - 8):
                whole += file.read(header)
            place = _place(whole)
            if place is None and whole.startswith(_PICKLES):
                raise UserError(
                    f"{path}: a checkpoint of an older version of metarun, which this version does not read"
                )
            if place is None:
                raise Damaged(f"{path}: not a checkpoint of metarun, or a damaged one")
            whole += file.read()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise UserError(f"{path}: larger than the memory of this machine") from error
    if _digest(whole, place) != whole[place : place + _DIGITS].decode():
        raise _damaged(path, "its checksum does not match its contents")
    return whole


def _place(header: bytearray) -> int | None:
    """Where the checksum's digits begin; None if there is not exactly one checksum."""
    found = list(_CHECKSUM.finditer(header))
    return found[0].start(1) if len(found) == 1 else None


def _digest(whole: bytearray, place: int) -> str:
    """SHA-256 of the file with zeros for the digits at ``place``."""
    view, digest = memoryview(whole), hashlib.sha256()
    for part in (view[:place], b"0" * _DIGITS, view[place + _DIGITS :]):
        digest.update(part)
    return digest.hexdigest()


def _plain(path: Path, whole: bytearray, tensors: dict[str, Any] | None) -> Any:
    """The decoded JSON with a `_Reference` for each tensor; those met are marked in ``tensors``."""
    try:
        header = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])
        return _decoded(json.loads(header["__metadata__"]["content"], parse_constant=_refuse), 0, tensors)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise _damaged(path, f"its plain values cannot be read: {' '.join(str(error).split())[:100]}") from error


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _decoded(value: Any, depth: int, tensors: dict[str, Any] | None) -> Any:
    if depth > DEEPEST:
        raise ValueError("nested too deeply")
    if isinstance(value, list):
        return [_decoded(item, depth + 1, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    special = [key for key in value if key.startswith("$")]
    if not special:
        return {key: _decoded(item, depth + 1, tensors) for key, item in value.items()}
    if len(value) > 1:
        raise ValueError(f"'{special[0]}' beside other keys")
    ((word, inside),) = value.items()
    if word == "$tensor" and isinstance(inside, str):
        return _referred(inside, tensors)
    if word == "$float" and inside in ("nan", "inf", "-inf"):
        return float(inside)
    if word == "$tuple" and isinstance(inside, list):
        return tuple(_decoded(item, depth + 1, tensors) for item in inside)
    if word == "$dict" and isinstance(inside, list):
        return _keyed(inside, depth, tensors)
    raise ValueError(f"'{word}' is unknown")


def _keyed(pairs: list[Any], depth: int, tensors: dict[str, Any] | None) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, item in pairs:
        if type(key) not in (str, int) or key in found:
            raise ValueError(f"{key!r} is not a key, or is given twice")
        found[key] = _decoded(item, depth + 1, tensors)
    return found


def _referred(name: str, tensors: dict[str, Any] | None) -> _Reference:
    if tensors is not None:
        if name not in tensors or tensors[name] is not None:
            raise ValueError(f"its tensor '{name}' is missing, or is given twice")
        tensors[name] = True
    return _Reference(name)


def _filled(value: Any, tensors: dict[str, "Tensor"]) -> Any:
    """A value with tensors for references to them, or None."""
    if isinstance(value, _Reference):
        return tensors.get(value)
    if isinstance(value, dict):
        return {key: _filled(item, tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_filled(item, tensors) for item in value)
    return value


def _damaged(path: Path, why: str) -> Damaged:
    return Damaged(f"{path}: a damaged checkpoint: {why}")
