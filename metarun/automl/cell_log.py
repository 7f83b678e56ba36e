"""The log of a collection: a line of JSON for each evaluation, only ever appended to."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from metarun.automl.limited import FAILED, OK, TIMEOUT
from metarun.core.errors import UserError

NAME = "cells.jsonl"


class Cell(NamedTuple):
    """One configuration on one task.

    status: ``ok``, ``failed`` or ``timeout``. scores: by metric; empty unless ok. seconds, cpu: elapsed and processor
    time; None unless ok. error: what went wrong.
    """

    task: str
    configuration: str
    status: str
    scores: Mapping[str, float]
    seconds: float | None
    cpu: float | None
    error: str


class CellLog:
    """A context that holds the log open. cells: all that it has, by task and configuration.

    A process that is killed while it writes leaves the begun line at the end; it is cut off. Raises `UserError` for a
    file with other content.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / NAME
        content = self._file.read_bytes() if self._file.is_file() else b""
        whole = content[: content.rfind(b"\n") + 1]
        self.cells: dict[tuple[str, str], Cell] = {}
        for number, line in enumerate(whole.splitlines(), 1):
            cell = self._read(line, number)
            if (cell.task, cell.configuration) in self.cells:
                raise UserError(f"{self._file}, line {number}: a second one for {cell.task}, {cell.configuration}")
            self.cells[cell.task, cell.configuration] = cell
        self._stream = self._file.open("r+b" if content else "wb")
        self._stream.truncate(len(whole))
        self._stream.seek(len(whole))

    def _read(self, line: bytes, number: int) -> Cell:
        try:
            cell = Cell(**json.loads(line))
            scores = all(isinstance(value, float | int) for value in cell.scores.values())
            if cell.status in (OK, FAILED, TIMEOUT) and isinstance(cell.task, str) and scores:
                return cell
        except (ValueError, TypeError, AttributeError, RecursionError):
            pass
        raise UserError(f"{self._file}, line {number}: not an evaluation; give another folder, or delete this line")

    def append(self, cell: Cell) -> None:
        """Add an evaluation; it is on the disk when this returns."""
        if (cell.task, cell.configuration) in self.cells:
            raise ValueError(f"{cell.task}, {cell.configuration}: was evaluated before")
        self._stream.write(json.dumps(cell._asdict(), allow_nan=False).encode() + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self.cells[cell.task, cell.configuration] = cell

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        self._stream.close()
