"""``status.json``: what became of a run, for people, resumes and reports."""

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from metarun.core.files import write_json
from metarun.runs.files import STATUS

NAME = STATUS


def write_status(folder: Path, status: Literal["running", "done", "failed", "interrupted"], **facts: Any) -> None:
    """Replace the run's status; ``facts`` are plain values, such as ``reason`` of a failure."""
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    write_json(folder / NAME, {"status": status, "time": now, **facts})
