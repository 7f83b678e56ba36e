"""Tables as files: CSV (also in gzip) and Parquet, column by column, every cell as text."""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from metarun.core.errors import UserError

_LONGEST = 40
"""Characters of a cell or a name that a message shows."""
_MOST_NAMES = 20


@dataclass(frozen=True)
class TableFile:
    """A table that was read.

    path: where it was read from. names: of its columns, no two alike. column: the cells of a named column, without
    surrounding blanks; an empty text where there is nothing. place: where a row is, counted from 0, in words.
    """

    path: str
    names: tuple[str, ...]
    column: Callable[[str], list[str]]
    place: Callable[[int], str]

    def error(self, row: int, name: str, wrong: str) -> UserError:
        """The error for a cell."""
        return UserError(f"{self.path}: {self.place(row)}, column {quoted(name)}: {wrong}")

    def unknown(self, key: str, name: str, names: Sequence[str] | None = None) -> UserError:
        """The error for a column that the setting ``key`` (one of ``names``) has and the table does not."""
        from metarun.config.quoting import setting, to_paste  # here, because Hydra's parser takes long to import

        columns = ", ".join(quoted(known) for known in self.names[:_MOST_NAMES])
        more = ", …" if len(self.names) > _MOST_NAMES else ""
        hint = ""
        for near in get_close_matches(name, self.names, n=1):
            better = near if names is None else [near if one == name else one for one in names]
            hint = f"; did you mean {to_paste(setting(key, better))}?"
        return UserError(f"{key}={name}: {self.path} has no such column{hint} (columns: {columns}{more})")


def read(path: str, *, row_names: bool = False) -> TableFile:
    """The table in a ``.csv``, ``.csv.gz`` or ``.parquet`` file. Raises `UserError` where it is none.

    row_names: whether the first column names the rows, so that it may itself have no name.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"dataset.path={path}: no such file; give a table, .csv, .csv.gz or .parquet")
    name = file.name.lower()
    if name.endswith((".csv", ".csv.gz")):
        return _csv(path, file, row_names)
    if name.endswith((".parquet", ".pq")):
        return _parquet(path, file, row_names)
    raise UserError(f"dataset.path={path}: unsupported file type; use .csv, .csv.gz or .parquet")


def quoted(text: str) -> str:
    """A cell or a name for a message: on one line, and not too long."""
    return repr(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")


def missing_package(package: str, what: str) -> UserError:
    """The error for a package of the extra ``tables`` that is not installed."""
    return UserError(f"{what} needs {package}, which is not installed: pip install 'metarun[tables]'")


def _csv(path: str, file: Path, row_names: bool) -> TableFile:
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix.lower() == ".gz" else file.read_bytes()
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), skipinitialspace=True, strict=True)
        for row in reader:
            if row:  # an empty line
                rows.append([cell.strip() for cell in row])
                lines.append(reader.line_num)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a CSV table: not UTF-8 text ({error.reason} at byte {error.start})") from error
    except (csv.Error, OSError, EOFError, zlib.error) as error:
        where = f" at line {lines[-1] + 1 if lines else 1}" if isinstance(error, csv.Error) else ""
        raise UserError(f"{path} cannot be read as a CSV table{where}: {error}") from error
    if not rows:
        raise UserError(f"{path} is empty; a header line with the column names is expected")
    header, *cells = rows
    _refuse_names(path, header, row_names)
    for row, line in zip(cells, lines[1:], strict=True):
        if len(row) != len(header):
            raise UserError(f"{path}: line {line} has {len(row)} cells, but the header has {len(header)}")
    if not cells:
        raise UserError(f"{path} has no rows below the header")
    numbers = {name: number for number, name in enumerate(header)}
    return TableFile(
        path, tuple(header), lambda name: [row[numbers[name]] for row in cells], lambda row: f"line {lines[row + 1]}"
    )


def _parquet(path: str, file: Path, row_names: bool) -> TableFile:
    try:
        import pyarrow
        from pyarrow import compute, parquet
    except ImportError as error:
        raise missing_package("pyarrow", f"{path}: a Parquet file") from error
    try:
        table = parquet.ParquetFile(file).read()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {_first_line(error)}") from error
    # pandas keeps its row labels under such names; they are no data.
    names = tuple(name for name in table.column_names if not name.startswith("__index_level_"))
    _refuse_names(path, names, row_names)
    if not table.num_rows:
        raise UserError(f"{path} has no rows")

    def column(name: str) -> list[str]:
        values = table.column(name)
        if pyarrow.types.is_floating(values.type):
            values = compute.if_else(compute.is_nan(values), None, values)  # nothing there, and not the word "nan"
        try:
            texts = values.cast(pyarrow.string()).to_pylist()
        except pyarrow.ArrowException as error:
            raise UserError(
                f"{path}: column {quoted(name)} has type {values.type}; numbers or strings are expected"
            ) from error
        return ["" if text is None else text.strip() for text in texts]

    return TableFile(path, names, column, lambda row: f"row {row + 1}")


def _refuse_names(path: str, names: Sequence[str], row_names: bool) -> None:
    seen: set[str] = set()
    for number, name in enumerate(names):
        if not name and not (row_names and number == 0):
            raise UserError(
                f"{path}: column {number + 1} has no name; add one, or delete the column if it is a row index"
            )
        if name in seen:
            raise UserError(f"{path}: two columns are named {quoted(name)}")
        seen.add(name)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
