"""The School data."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tables import write

from metarun.core.errors import UserError
from metarun.datasets.school import SchoolConfig
from metarun.datasets.table import TableDataset

REAL = Path(__file__).resolve().parents[2] / "../shared/data/multitask/school/school.mat"


def load(path: Path, seed: int = 0, **changes: Any) -> TableDataset:
    settings: dict[str, Any] = {
        **{"split": "rows", "fractions": [0.65, 0.1, 0.25]},
        **{"shots": None, "queries": None, "train_shots": None, "train_queries": None},
    }
    config = SchoolConfig(path=str(path), **{**settings, **changes})
    return config.load(seed, torch.device("cpu"), torch.float64)


def cells(matrices: list[np.ndarray]) -> np.ndarray:
    array = np.empty((1, len(matrices)), object)
    array[0] = matrices
    return array


def schools() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Five schools laid out like the file: bytes, columns 21 to 26 of the school, column 27 always 1."""
    random = np.random.default_rng(0)
    x = [random.integers(0, 200, (pupils, 28), np.uint8) for pupils in (20, 25, 30, 22, 28)]
    for place, features in enumerate(x):
        features[:, 21:27] = place % 2
        features[:, 27] = 1
    return x, [random.integers(1, 70, (len(features), 1), np.uint8) for features in x]


def save(folder: Path, **content: Any) -> Path:
    path = folder / "school.mat"
    from scipy.io import savemat

    savemat(path, content)
    return path


def test_a_matlab_file(tmp_path: Path) -> None:
    x, y = schools()
    table = load(save(tmp_path, X=cells(x), Y=cells(y)))
    assert table.name == "school"
    assert table.known_tasks == 5
    assert table.groups == ("1", "2", "3", "4", "5")
    assert table.inputs.shape == (27,)
    assert table.feature_names == tuple(f"x{column}" for column in range(27))
    assert table.descriptor_size == 6
    assert table.distinct("test") == 5
    batch = table.sample("test", 0, 5)
    for school in range(5):
        scores = torch.cat([part.y[school, part.mask[school] > 0, 0] for part in (batch.support, batch.query)])
        told = (scores * table.target_std + table.target_mean).round().long()
        assert sorted(told.tolist()) == sorted(y[school][:, 0].tolist())


def test_a_table_of_schools(tmp_path: Path) -> None:
    x, y = schools()
    rows = [
        [f"School {place}", *features, *score]
        for place, (a, b) in enumerate(zip(x, y, strict=True))
        for features, score in zip(a.tolist(), b.tolist(), strict=True)
    ]
    header = ["school", *(f"x{column}" for column in range(28)), "score"]
    from_table = load(write(tmp_path / "school.csv", header, rows))
    from_matlab = load(save(tmp_path, X=cells(x), Y=cells(y)))
    assert torch.equal(from_table.sample("train", 0, 9).support.x, from_matlab.sample("train", 0, 9).support.x)
    assert torch.equal(from_table.sample("test", 0, 5).query.y, from_matlab.sample("test", 0, 5).query.y)
    with pytest.raises(UserError, match=r"is not the School data: no column 'score'; the columns school and score"):
        load(write(tmp_path / "other.csv", ["school", "x", "result"], [[1, 2, 3]]))


def bent(change: str) -> dict[str, Any]:
    """A file that is nearly School."""
    x, y = schools()
    if change == "columns":
        x = [features[:, :9] for features in x]
    if change == "pupils":
        y[2] = y[2][:-1]
    if change == "schools":
        y = y[:-1]
    if change == "words":
        x[1] = np.array(["word"])
    if change == "nan":
        x[3] = x[3].astype(float)
        x[3][4, 5] = np.nan
    if change == "matrix":
        return {"X": np.ones((5, 28)), "Y": cells(y)}
    if change == "names":
        return {"features": cells(x), "scores": cells(y)}
    return {"X": cells(x), "Y": cells(y)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("columns", r"is not the School data: school 1 has features 20 x 9 and scores 20 x 1; pupils x 28"),
        ("pupils", r"is not the School data: school 3 has features 30 x 28 and scores 29 x 1"),
        ("schools", r"X has 5 schools, Y 4"),
        ("words", r"X of school 2 is not a matrix of numbers"),
        ("nan", r"X of school 4 has a value in row 5 that is not finite"),
        ("matrix", r"no cell array X, with a matrix for every school"),
        ("names", r"no cell array X"),
    ],
)
def test_a_matlab_file_of_something_else_is_refused(tmp_path: Path, change: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(save(tmp_path, **bent(change)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 50, 130, 600])
def test_a_broken_matlab_file_is_one_line(tmp_path: Path, keep: int) -> None:
    x, y = schools()
    path = save(tmp_path, X=cells(x), Y=cells(y))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"(cannot be read as a MATLAB|is not the School data)") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"dataset\.path=.*none\.mat: no such file; give school\.mat"):
        load(tmp_path / "none.mat")
    (tmp_path / "school.mat").touch()
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(UserError, match=r"needs scipy, which is not installed: pip install 'metarun\[tables\]'"):
        load(tmp_path / "school.mat")


@pytest.mark.skipif(not REAL.exists(), reason="no shared data: School")
def test_the_real_data() -> None:
    table = load(REAL)
    assert (table.known_tasks, table.inputs.shape, table.descriptor_size) == (139, (27,), 6)
    rows = table.protocol()["rows"]
    assert sum(rows.values()) == 15_362
    assert rows["test"] / 15_362 == pytest.approx(0.25, abs=0.005)
    assert (table.distinct("test"), table.distinct("val"), table.distinct("train")) == (139, 139, None)
    batch = table.sample("test", 0, 139)
    assert batch.identity.tolist() == list(range(139))
    assert int(batch.support.mask.sum() + batch.query.mask.sum()) == 15_362
    parts = (batch.support, batch.query)
    scores = torch.cat([part.y[part.mask > 0] for part in parts]) * table.target_std + table.target_mean
    assert float((scores - scores.round()).abs().max()) < 1e-9
    assert (int(scores.min().round()), int(scores.max().round())) == (1, 70)
