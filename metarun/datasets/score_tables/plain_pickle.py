"""Pickles that hold builtin containers and values only."""

import pickle
from pathlib import Path
from typing import Any, NoReturn

from metarun.core.errors import UserError


class _PlainUnpickler(pickle.Unpickler):
    """Refuses every class and function, so that nothing in the file can be run."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(
            f"it refers to {module}.{name}; dictionaries, lists, numbers and texts are allowed"
        )


def read(file: Path) -> Any:
    """The content of a pickle without classes and functions. Raises `UserError` for any other file."""
    try:
        with file.open("rb") as stream:
            return _PlainUnpickler(stream).load()
    except (
        OSError,
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
        MemoryError,
        UnicodeDecodeError,
        OverflowError,
    ) as error:
        raise UserError(f"{file} cannot be read as a pickle of plain values: {error}") from error
