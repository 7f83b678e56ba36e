"""OBOE's matrix form."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from metarun.core.errors import UserError
from metarun.datasets.score_tables import oboe
from metarun.datasets.score_tables.encoding import encoded

REAL = Path(__file__).resolve().parents[3] / "../shared/data/hpo/oboe"
HEADERS = [
    "{'algorithm': 'KNN', 'hyperparameters': {'n_neighbors': 1, 'p': 2}}",
    "{'algorithm': 'KNN', 'hyperparameters': {'n_neighbors': 5, 'p': 1}}",
    "{'algorithm': 'GBT', 'hyperparameters': {'learning_rate': 0.5, 'max_features': None}}",
    "{'algorithm': 'GBT', 'hyperparameters': {'learning_rate': 0.01, 'max_features': 'log2'}}",
    "{'algorithm': 'GNB', 'hyperparameters': {}}",
]


def write(file: Path, rows: list[list[str]]) -> None:
    with gzip.open(file, "wt", newline="") if file.suffix == ".gz" else file.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    errors = [
        ["007", ".1", ".2", ".3", ".4", ".5"],
        ["21", ".5", ".4", "", ".2", ".1"],
        ["3", ".1", ".2", ".3", ".4", ".5"],
    ]
    write(tmp_path / "error_matrix.csv.gz", [["", *HEADERS], *errors])
    write(tmp_path / "runtime_matrix.csv", [["", *HEADERS], *([row[0], "1", "2", "3", "4", "5"] for row in errors)])
    write(tmp_path / "dataset_sizes.csv", [["", "0", "1"], ["3", "1000", "10"], ["7", "100", "10"], ["21", "10", "1"]])
    return tmp_path


def test_matrices_configurations_and_sizes(folder: Path) -> None:
    table = oboe.read(str(folder))
    assert table.tasks == ("007", "21", "3")
    assert table.identifiers[:3] == (
        "KNN(n_neighbors=1, p=2)",
        "KNN(n_neighbors=5, p=1)",
        "GBT(learning_rate=0.5, max_features=None)",
    )
    assert table.configurations[3] == {"algorithm": "GBT", "GBT:learning_rate": 0.01, "GBT:max_features": "log2"}
    assert table.configurations[2]["GBT:max_features"] == "None"
    assert table.scores["error"][1].tolist() == pytest.approx([0.5, 0.4, np.nan, 0.2, 0.1], nan_ok=True)
    assert np.argwhere(table.failed).tolist() == [[1, 2]]
    assert table.seconds is not None
    assert table.seconds[0].tolist() == [1, 2, 3, 4, 5]
    assert table.features.tolist() == [[2, 1], [1, 0], [3, 1]]
    assert table.groups.tolist() == [0, 1, 0]  # the first and the last have the same errors


def test_only_the_error_matrix_is_needed(folder: Path) -> None:
    (folder / "runtime_matrix.csv").unlink()
    (folder / "dataset_sizes.csv").unlink()
    table = oboe.read(str(folder))
    assert table.seconds is None
    assert table.features.shape == (3, 0)


@pytest.mark.parametrize(
    ("header", "cell", "message"),
    [
        ("KNN", ".1", r"column header 'KNN' is not of the form \{'algorithm': NAME"),
        ("{'algorithm': print('x')}", ".1", r"is not of the form"),
        (HEADERS[0], "good", r"line 2, column .*: 'good' is not a finite number"),
        (HEADERS[0], "inf", r"'inf' is not a finite number"),
    ],
)
def test_a_broken_matrix_is_one_line(tmp_path: Path, header: str, cell: str, message: str) -> None:
    write(tmp_path / "error_matrix.csv", [["", header], ["1", cell]])
    with pytest.raises(UserError, match=message):
        oboe.read(str(tmp_path))


def test_files_that_do_not_go_together(folder: Path) -> None:
    write(folder / "runtime_matrix.csv", [["", HEADERS[0]], ["7", "1"]])
    with pytest.raises(UserError, match=r"runtime_matrix\.csv: its rows and columns are not those of the error matrix"):
        oboe.read(str(folder))
    (folder / "runtime_matrix.csv").unlink()
    write(folder / "dataset_sizes.csv", [["", "0", "1"], ["3", "1000", "10"]])
    with pytest.raises(UserError, match=r"dataset_sizes\.csv: no row for data set '007'"):
        oboe.read(str(folder))


@pytest.mark.skipif(not REAL.exists(), reason="no shared data: OBOE")
def test_the_real_data() -> None:
    table = oboe.read(str(REAL))
    assert table.scores["error"].shape == (418, 219)
    assert table.groups.max() + 1 == 408
    assert not table.failed.any()
    assert 0 <= table.scores["error"].min() < table.scores["error"].max() < 0.936
    values, _ = encoded(table.space, table.configurations)
    assert len(np.unique(values, axis=0)) == 219
    assert 10 ** table.features[:, 0].min() == pytest.approx(150)
    assert 10 ** table.features[:, 1].max() == pytest.approx(61_360)
