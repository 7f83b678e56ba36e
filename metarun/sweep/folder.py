"""A sweep's folder: a folder for each job, and what the sweep itself leaves beside them."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import Timeout

from metarun.config.plain_yaml import read_yaml
from metarun.core.errors import UserError
from metarun.core.files import write_text
from metarun.core.lock import held
from metarun.runs.files import CHECKPOINTS, CONFIG, RESULT, SWEEP_FILE, saved
from metarun.runs.status import NAME as STATUS

SWEEP = SWEEP_FILE


@dataclass(frozen=True)
class SweepFolder:
    """Where a sweep lives."""

    path: Path

    @property
    def stop_file(self) -> Path:
        """While it exists, no job begins and those that run save their state and end."""
        return self.path / ".stop"

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the folder for this sweep alone. Raises `UserError` where another process has it, or it can't be."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = held(self.path, wait=False)
            lock.acquire()
        except Timeout as error:
            raise UserError(
                f"hydra.sweep.dir={self.path}: in use by the sweep of another process; wait for it, or stop it"
            ) from error
        except OSError as error:
            raise UserError(f"hydra.sweep.dir={self.path}: cannot be written: {error.strerror or error}") from error
        try:
            yield
        finally:
            lock.release()

    def remember(self, overrides: Sequence[str]) -> None:
        """Keep the command, for ``resume``."""
        text = yaml.safe_dump({"overrides": list(overrides)}, allow_unicode=True, width=1000)
        write_text(self.path / SWEEP, "# What metarun -m was given. Go on with: metarun resume=THIS_FOLDER\n" + text)

    def command(self) -> list[str]:
        """The overrides kept, whatever they are. Raises `UserError` if the file cannot be read."""
        file = self.path / SWEEP
        kept = read_yaml(file)
        overrides = kept.get("overrides") if isinstance(kept, dict) else None
        if not isinstance(overrides, list) or not all(isinstance(text, str) for text in overrides):
            raise UserError(f"{file}: not what metarun -m writes")
        return overrides


def state(folder: Path) -> dict[str, Any]:
    """What a run's folder says became of it; ``{"status": "missing"}`` where nothing says."""
    try:
        told = json.loads((folder / STATUS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"status": "missing"}
    if not isinstance(told, dict) or not isinstance(told.get("status"), str):
        return {"status": "missing"}
    if told["status"] == "done" and not (folder / RESULT).is_file():
        return {"status": "missing"}
    return told


def result(folder: Path) -> Mapping[str, Any]:
    """A finished run's ``result.json``; empty where it cannot be read."""
    try:
        found = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def saved_config(folder: Path) -> dict[str, Any] | None:
    """The configuration in a run folder, or ``None`` if it cannot be read."""
    try:
        found = read_yaml(folder / CONFIG)
    except UserError:
        return None
    return found if isinstance(found, dict) else None


def can_go_on(folder: Path) -> bool:
    """Whether a run that was stopped had saved a state."""
    return bool(saved(folder)) and saved_config(folder) is not None


def cleared(folder: Path) -> None:
    """Take away what a run left that ended before it saved a state; its log stays."""
    for path in (folder / CONFIG, folder / STATUS, folder / RESULT, *folder.glob("events.out.tfevents.*")):
        path.unlink(missing_ok=True)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
