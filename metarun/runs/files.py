"""Names of the files of a run folder, which no other module knows."""

from pathlib import Path

from metarun.core.errors import UserError

CONFIG = "config.yaml"
"""The run's settings."""
STATUS = "status.json"
RESULT = "result.json"
TEST_DATASETS = "test_datasets"
"""The key of what was measured on further data sets, by name: a block each, whose parts are like the result's own."""
EPISODES = "episodes.csv"
"""A row for each meta-test episode."""
EPISODES_OF = "episodes-{}.csv"
"""The same of a further data set, by its name."""
EMBEDDINGS = "embeddings.csv"
"""A row for each task seen at the end."""
OPTIMIZATION = "optimization.json"
"""Of ``mode=optimize``: how well each method did."""
TRIAL_RECORDS = "optimization.csv"
"""A row for each of its trials."""
REGRET_FIGURE, RANK_FIGURE = "regret.png", "ranks.png"
LOG = "metarun.log"
SWEEP_FILE = "sweep.yaml"
"""In a sweep's folder: how its jobs are chosen."""

CHECKPOINTS = "checkpoints"
SUFFIX = ".safetensors"
BEST, LAST = f"{CHECKPOINTS}/best{SUFFIX}", f"{CHECKPOINTS}/last{SUFFIX}"
"""The state with the best validation, and the latest state."""

OLD = "its checkpoints are from an older version of metarun, which this version does not read; train again"

_OLD_FILES = (f"{CHECKPOINTS}/best.pt", f"{CHECKPOINTS}/last.pt")
"""What older versions wrote: pickles, which are never read."""


def episodes_file(name: str) -> str:
    """The name of the file with the meta-test episodes of ``test_dataset.NAME``."""
    return EPISODES_OF.format(name)


def best_file(folder: Path) -> Path:
    """The checkpoint with the best validation of the run in ``folder``."""
    return folder / BEST


def last_file(folder: Path) -> Path:
    """The latest checkpoint of the run in ``folder``."""
    return folder / LAST


def saved(folder: Path, *, best_first: bool = False) -> list[Path]:
    """The checkpoints that a run's folder has, the one to take first in front."""
    names = (BEST, LAST) if best_first else (LAST, BEST)
    return [folder / name for name in names if (folder / name).is_file()]


def only_old(folder: Path) -> bool:
    """Whether a run's folder has checkpoints of an older version and no others."""
    return not saved(folder) and any((folder / name).is_file() for name in _OLD_FILES)


def checkpoint_files(path: str) -> list[Path]:
    """The files that ``checkpoint=path`` may mean, in order: the best of a run's folder, then its last.

    Raises `UserError` if there is none.
    """
    place = Path(path)
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise UserError(f"checkpoint={path}: no such file or folder")
    if found := saved(place, best_first=True):
        return found
    if only_old(place):
        raise UserError(f"checkpoint={path}: {OLD}")
    raise UserError(f"checkpoint={path}: not a run's folder: it has no {BEST} or {LAST}")


def holds_a_run(folder: Path) -> bool:
    """Whether a folder has files of a run in it, begun or ended."""
    return any((folder / name).exists() for name in (CONFIG, RESULT, CHECKPOINTS, STATUS))


def refuse_taken(folder: Path) -> None:
    """Refuse a folder for a new run that holds one already. Raises `UserError`."""
    if holds_a_run(folder):
        from metarun.config.quoting import path_setting, to_paste  # here: Hydra's parser takes half a second to import

        resume = to_paste(path_setting("resume", folder))
        raise UserError(f"hydra.run.dir={folder}: contains a run; choose another folder, or {resume}")
