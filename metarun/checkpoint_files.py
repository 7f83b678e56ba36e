"""Where a run keeps its checkpoints: the only place that knows their names."""

from pathlib import Path

CHECKPOINTS = "checkpoints"
SUFFIX = ".safetensors"
BEST, LAST = f"{CHECKPOINTS}/best{SUFFIX}", f"{CHECKPOINTS}/last{SUFFIX}"
"""The state with the best validation, and the latest state."""

_OLD = (f"{CHECKPOINTS}/best.pt", f"{CHECKPOINTS}/last.pt")
"""What older versions wrote: pickles, which are never read."""


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
    return not saved(folder) and any((folder / name).is_file() for name in _OLD)
