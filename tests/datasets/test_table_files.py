"""CSV and Parquet files."""

import gzip
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import write

from metarun.core.errors import UserError
from metarun.datasets.table_files import read

CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5))
def test_csv_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    table = read(str(write(tmp_path_factory.mktemp("tables") / "table.csv", ["a", "b"], rows)))
    assert table.names == ("a", "b")
    for place, name in enumerate(table.names):
        assert table.column(name) == [row[place].strip() for row in rows]


def test_gzip_a_byte_order_mark_blanks_and_empty_lines_do_no_harm(tmp_path: Path) -> None:
    text = '\ufeffa, b\n1, "x, y"\n\n2,z\n'
    (tmp_path / "table.CSV").write_text(text, encoding="utf-8")
    (tmp_path / "table.csv.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("table.CSV", "table.csv.gz"):
        table = read(str(tmp_path / name))
        assert table.names == ("a", "b")
        assert table.column("b") == ["x, y", "z"]
        assert table.place(1) == "line 4"


def test_parquet_reads_like_csv(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    columns = {
        "task": pyarrow.array(["x", "y", "y"]).dictionary_encode(),
        "number": pyarrow.array([0.1, 1e-12, float("nan")]),
        "count": pyarrow.array([1, None, 2**60 + 1]),
        "nested": pyarrow.array([[1], [2], [3]]),
        "__index_level_0__": pyarrow.array([5, 6, 7]),
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "table.parquet")
    table = read(str(tmp_path / "table.parquet"))
    assert table.names == ("task", "number", "count", "nested")
    assert table.column("task") == ["x", "y", "y"]
    assert [float(cell) for cell in table.column("number")[:2]] == [0.1, 1e-12]
    assert table.column("number")[2] == "", "NaN is a missing value, as null is"
    assert table.column("count") == ["1", "", str(2**60 + 1)]
    assert table.place(1) == "row 2"
    with pytest.raises(UserError, match=r"column 'nested' has type list<.*; numbers or strings are expected"):
        table.column("nested")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("table.csv", b"", r"table\.csv is empty; a header line with the column names"),
        ("table.csv", b"\n\n", r"is empty"),
        ("table.csv", b"a,b\n", r"has no rows below the header"),
        ("table.csv", b"a,b\n1,2\n\n1,2,3\n", r"line 4 has 3 cells, but the header has 2"),
        ("table.csv", b"a,b\n1\n", r"line 2 has 1 cells"),
        ("table.csv", b"a,b,a\n1,2,3\n", r"two columns are named 'a'"),
        ("table.csv", b",b\n1,2\n", r"column 1 has no name"),
        ("table.csv", b"\x89PNG\r\n\xff\xfe", r"is not a CSV table: not UTF-8 text"),
        ("table.csv", b'a,b\n1,2\n1,"2', r"cannot be read as a CSV table at line 3: unexpected end of data"),
        ("table.csv", b"a\n" + b"1" * 200_000, r"cannot be read as a CSV table at line 2: field larger than"),
        ("table.csv.gz", b"a,b\n1,2\n", r"cannot be read as a CSV table: Not a gzipped file"),
        (
            "table.csv.gz",
            gzip.compress(b"a,b\n1,2\n" * 99, mtime=0)[:-9],
            r"cannot be read as a CSV table: .*end-of-stream",
        ),
        ("table.csv.gz", gzip.compress(b"a,b\n1,2\n", mtime=0)[:11] + b"\xff" * 20, r"cannot be read as a CSV table"),
        ("table.parquet", b"a,b\n1,2\n", r"cannot be read as Parquet: "),
        ("table.parquet", b"", r"cannot be read as Parquet: "),
        ("table.xlsx", b"PK", r"unsupported file type; use \.csv, \.csv\.gz or \.parquet"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_parquet_file_without_rows_or_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"a": pyarrow.array([], pyarrow.int64())}), tmp_path / "empty.parquet")
    with pytest.raises(UserError, match=r"empty\.parquet has no rows"):
        read(str(tmp_path / "empty.parquet"))
    twice = pyarrow.Table.from_arrays([pyarrow.array([1]), pyarrow.array([2])], names=["a", "a"])
    parquet.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(UserError, match=r"two columns are named 'a'"):
        read(str(tmp_path / "twice.parquet"))


@pytest.mark.parametrize("name", ["missing.csv", "."])
def test_a_missing_file_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"dataset\.path=.*: no such file"):
        read(str(tmp_path / name))


def test_missing_parquet_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "table.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"needs pyarrow, which is not installed: pip install 'metarun\[tables\]'"):
        read(str(tmp_path / "table.parquet"))
