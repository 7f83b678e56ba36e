"""Unfinished runs: their status, and the command that resumes each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from metarun.core.names import short_keys
from metarun.report import keys
from metarun.report.grouping import label
from metarun.report.runs import DONE, LOG, Run
from metarun.report.text import clean

SILENT = timedelta(minutes=15)
"""How long a running run may write nothing before it is said to be dead, perhaps."""


@dataclass(frozen=True)
class Unfinished:
    """One run that is not done, in words."""

    status: str
    folder: str
    label: str
    """Its values of the keys that vary among the runs of its problem, and its seed."""
    reason: str
    next: str
    """What to type, or where to look; empty where there is nothing to do."""


def unfinished(runs: Sequence[Run], now: datetime | None = None) -> list[Unfinished]:
    """All that are not done, in the order given. ``now``: the time, if not that of the clock."""
    problems: dict[str, list[Run]] = {}
    for run in runs:
        problems.setdefault(keys.of(run, "dataset"), []).append(run)
    names = {dataset: short_keys([*keys.varying(mine), keys.SEED]) for dataset, mine in problems.items()}
    return [_told(run, names[keys.of(run, "dataset")], now or datetime.now(UTC)) for run in runs if run.status != DONE]


def _told(run: Run, names: dict[str, str], now: datetime) -> Unfinished:
    # What to type is told once, with the folder as it is called from here and now.
    reason = run.reason.partition("; resume with:")[0].partition("; test again with:")[0]
    if run.status == "failed":
        there = (run.folder / LOG).is_file()
        return _row(run, names, reason, f"see {clean(run.folder / LOG)}" if there else "")
    if run.status == "interrupted":
        return _row(run, names, reason, _resume_command(run))
    sign = run.last_sign()
    if sign is None:
        return _row(run, names, "wrote nothing yet", "")
    silence = now - sign
    told = f"last wrote {_ago(silence)} ago"
    return _row(run, names, told, f"if it was killed: {_resume_command(run)}" if silence > SILENT else "")


def _row(run: Run, names: dict[str, str], reason: str, what: str) -> Unfinished:
    return Unfinished(run.status, clean(run.folder), label(run, names), reason, what)


def _resume_command(run: Run) -> str:
    """The command that resumes a run, or restarts it."""
    if (checkpoint := run.settings.get("checkpoint")) is not None:
        return _line(run, f"mode={run.settings.get('mode')}", checkpoint=checkpoint)
    if run.can_resume():
        return _line(run, resume=run.folder)
    return "restart it: it had not saved a state yet"


def _line(run: Run, *overrides: str, **paths: Any) -> str:
    # Here, because Hydra's parser takes half a second to import.
    from metarun.config.quoting import command_line, path_setting

    line = command_line(run.settings, *overrides, *(path_setting(key, path) for key, path in paths.items()))
    return line if line.isprintable() else clean(line)


def _ago(silence: timedelta) -> str:
    seconds = max(0, round(silence.total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
