"""The log of a collection."""

from pathlib import Path

import pytest

from metarun.automl.cell_log import NAME, Cell, CellLog
from metarun.core.errors import UserError

CELL = Cell("iris", "mlp-0", "ok", {"accuracy": 0.5}, 1.5, 1.25, "")


def test_what_was_appended_is_read(tmp_path: Path) -> None:
    failed = Cell("iris", "mlp-1", "failed", {}, None, None, "ValueError: “no”")
    with CellLog(tmp_path) as log:
        log.append(CELL)
        log.append(failed)
        with pytest.raises(ValueError, match="was evaluated before"):
            log.append(CELL)
    with CellLog(tmp_path) as log:
        assert log.cells == {("iris", "mlp-0"): CELL, ("iris", "mlp-1"): failed}


def test_a_line_that_was_not_finished_is_cut_off(tmp_path: Path) -> None:
    with CellLog(tmp_path) as log:
        log.append(CELL)
    whole = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(whole + whole[:-5])
    with CellLog(tmp_path) as log:
        assert list(log.cells) == [("iris", "mlp-0")]
    assert (tmp_path / NAME).read_bytes() == whole


@pytest.mark.parametrize(
    "line", ["[]", "{}", "x", "[" * 100_000, '{"task": 1}', '{"task": "a", "configuration": "b", "status": "fine"}']
)
def test_other_lines_are_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / NAME).write_text(line + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"cells\.jsonl, line 1: not an evaluation"):
        CellLog(tmp_path)


def test_a_repeated_cell_is_refused(tmp_path: Path) -> None:
    with CellLog(tmp_path) as log:
        log.append(CELL)
    whole = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(whole + whole)
    with pytest.raises(UserError, match="line 2: a second one for iris, mlp-0"):
        CellLog(tmp_path)
