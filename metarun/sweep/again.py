"""A sweep's folder as the base of a new command: the overrides that it was begun with."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.types import Override

from metarun.config.compose import parse
from metarun.config.saved import quoted
from metarun.errors import UserError
from metarun.sweep.folder import SWEEP, SweepFolder
from metarun.sweep.space import of_sweep


def saved_sweep(overrides: Sequence[str], parsed: Sequence[Override]) -> list[str] | None:
    """The overrides of the sweep that ``resume`` names, with what was typed beside it; ``None`` if it names no sweep.

    Raises `UserError` for a broken file, and for settings of jobs typed beside it.
    """
    given = {override.key_or_group: override.value() for override in parsed}
    path = given.get("resume")
    if not isinstance(path, str) or not (Path(path) / SWEEP).is_file():
        return None
    others = [one.key_or_group for one in parsed if one.key_or_group != "resume" and not _goes_with_resume(one)]
    if others:
        raise UserError(
            f"resume={path}: a resumed sweep keeps its jobs; only sweep.* and the launcher may be given (not "
            f"{', '.join(others)})"
        )
    beside = [str(one.input_line) for one in parsed if one.key_or_group != "resume"]
    typed = {"hydra.sweep.dir", *(one.get_key_element() for one in parsed)}
    kept = [
        str(one.input_line) for one in parse(SweepFolder(Path(path)).command()) if one.get_key_element() not in typed
    ]
    return [*kept, *beside, f"hydra.sweep.dir={quoted(path)}"]


def _goes_with_resume(override: Override) -> bool:
    name = override.key_or_group
    return of_sweep(override) or (name.startswith("hydra") and name != "hydra.sweep.dir")
