"""What the columns of a table are, and scikit-learn's transformers that make numbers of them."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUMBER, CATEGORY, DATE, IGNORED = "number", "category", "date", "ignored"
MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "?"))
"""Words for a missing cell, in lower case."""
MOST_CATEGORIES = 30
"""Columns of zeros and ones for one column of words; rarer words share the last."""
_LARGEST = 1e100
"""Far beyond any measurement, and its square is still a number."""
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?)?")
_DAY = 86400.0


def column_kinds(x: Any) -> tuple[str, ...]:
    """``number``, ``category``, ``date`` or ``ignored`` for each column of ``x`` ``[n, d]``: numbers, or cells.

    Numbers may be written as text; a date is an ISO 8601 date, with or without a time, or a ``datetime``. Ignored are
    columns with one value, with none, and with words of which more than half are different: identifiers and free text.
    """
    return tuple(_kind(x[:, place]) for place in range(x.shape[1]))


def _kind(column: Any) -> str:
    if column.dtype.kind in "fiub":
        known = column[~np.isnan(column)] if column.dtype.kind == "f" else column
        return NUMBER if len(known) and known.min() != known.max() else IGNORED
    cells = [cell for cell in column.tolist() if not is_missing(cell)]
    different = set(map(str, cells))
    if len(different) < 2:
        return IGNORED
    if all(_is_number(cell) for cell in cells):
        return NUMBER
    if all(_timestamp(cell) is not None for cell in cells):
        return DATE
    return IGNORED if len(different) > max(MOST_CATEGORIES, len(cells) / 2) else CATEGORY


def is_missing(cell: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, or a word for it."""
    if isinstance(cell, str):
        return cell.strip().lower() in MISSING
    return cell is None or cell != cell


def _is_number(cell: Any) -> bool:
    if isinstance(cell, int | float | np.number):
        return True
    if not isinstance(cell, str) or "_" in cell:
        return False
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _timestamp(cell: Any) -> float | None:
    """Days since 1970, None where the cell is no date. Times without a zone count as UTC."""
    if isinstance(cell, np.datetime64):
        cell = cell.astype("datetime64[us]").item()
    if isinstance(cell, str):
        if _ISO_DATE.fullmatch(cell.strip()) is None:
            return None
        try:
            cell = datetime.fromisoformat(cell.strip())
        except ValueError:
            return None
    if isinstance(cell, date) and not isinstance(cell, datetime):
        cell = datetime.combine(cell, time())
    if not isinstance(cell, datetime):
        return None
    return (cell if cell.tzinfo else cell.replace(tzinfo=UTC)).timestamp() / _DAY


def numbers(x: Any) -> NDArray[np.float64]:
    """Cells as float64, NaN where one is missing, no number, infinite or beyond 1e100."""
    cells = np.asarray(x)
    if cells.dtype.kind not in "fiub":
        cells = np.array([_number(cell) for cell in cells.ravel().tolist()]).reshape(cells.shape)
    values = cells.astype(np.float64)
    return np.where(np.abs(values) < _LARGEST, values, np.nan)


def _number(cell: Any) -> float:
    return float(cell) if not is_missing(cell) and _is_number(cell) else np.nan


def dates(x: Any) -> NDArray[np.float64]:
    """For each column of dates three: the day since 1970, the month and the day of the week; NaN where missing."""
    cells = np.asarray(x, object)
    days = np.array([_day(cell) for cell in cells.ravel()], np.float64).reshape(cells.shape)
    known = np.where(np.isnan(days), 0, days)
    months = known.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12
    parts = np.stack([days, months, (np.floor(known) + 3) % 7], -1)
    found: NDArray[np.float64] = np.where(np.isnan(days)[..., None], np.nan, parts).reshape(len(cells), -1)
    return found


def _day(cell: Any) -> float:
    found = None if is_missing(cell) else _timestamp(cell)
    return np.nan if found is None else found


def words(x: Any) -> NDArray[np.object_]:
    """Cells as text, the empty one where a cell is missing."""
    cells = np.asarray(x, object)
    found = np.array(["" if is_missing(cell) else str(cell).strip() for cell in cells.ravel()], object)
    return found.reshape(cells.shape)


def preprocessor(kinds: Sequence[str]) -> Any:
    """A transformer of tables with columns of these kinds: imputation, encoding and scaling.

    Missing numbers and dates become the column's median. Numbers have mean 0 and standard deviation 1. Categories
    become columns of zeros and ones, of which a missing value has its own, and one that was not seen none.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

    places = {kind: [place for place, each in enumerate(kinds) if each == kind] for kind in (NUMBER, DATE, CATEGORY)}
    scaled = [SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()]
    encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=MOST_CATEGORIES, sparse_output=False)
    parts = {
        NUMBER: make_pipeline(FunctionTransformer(numbers), *scaled),
        DATE: make_pipeline(FunctionTransformer(dates), *scaled),
        CATEGORY: make_pipeline(FunctionTransformer(words), encoder),
    }
    return ColumnTransformer([(kind, parts[kind], places[kind]) for kind in parts if places[kind]])
