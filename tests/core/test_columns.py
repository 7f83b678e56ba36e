"""Columns of plain text."""

from metarun.core.columns import columns


def test_cells_stand_below_each_other_and_numbers_end_together() -> None:
    rows = [["layer", "9"], ["a", "1,000"]]
    assert columns(rows, right=[1]) == "  layer       9\n  a       1,000"
    assert columns([["a", ""], ["bcd", "e"]], margin=0) == "a\nbcd   e"
