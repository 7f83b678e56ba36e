"""Resuming a sweep: the saved overrides of its folder, and the command that resumes it."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.types import Override

from metarun.config.compose import parse
from metarun.config.quoting import path_setting, quoted, unescaped
from metarun.core.errors import UserError
from metarun.setup.saved import typed_only
from metarun.sweep.folder import SWEEP, SweepFolder
from metarun.sweep.saved_overrides import refusal
from metarun.sweep.space import of_sweep

_FOLDER = "hydra.sweep.dir"


def resumed_overrides(overrides: Sequence[str], parsed: Sequence[Override]) -> list[str] | None:
    """The saved overrides of the sweep in ``resume=FOLDER`` and the typed ones; ``None`` if ``resume`` is not a sweep.

    Raises `UserError` for an invalid file, for saved overrides that could do more than choose settings (see `refusal`)
    unless they are typed again, and for typed settings of jobs.
    """
    given = {override.key_or_group: override.value() for override in parsed}
    path = given.get("resume")
    if not isinstance(path, str) or not (Path(path := unescaped(path)) / SWEEP).is_file():
        return None
    others = [one.key_or_group for one in parsed if one.key_or_group != "resume" and not _goes_with_resume(one)]
    if others:
        raise UserError(
            f"resume={path}: a resumed sweep keeps its jobs; only sweep.* and the launcher may be given (not "
            f"{', '.join(others)})"
        )
    beside = [str(one.input_line) for one in parsed if one.key_or_group != "resume"]
    # What writes elsewhere is for the user to type; the data are there once a job has run.
    replaced = {_FOLDER, *(one.key_or_group for one in parsed)}
    saved = [one for one in parse(SweepFolder(Path(path)).command()) if not typed_only(one.key_or_group)]
    kept = [one for one in saved if one.key_or_group not in replaced]
    for one in kept:
        _refuse_untrusted(one, path)
    return [*_lines(kept), *beside, f"{_FOLDER}={quoted(path)}"]


def resume_arguments(typed: Sequence[str], folder: str) -> list[str]:
    """The arguments that resume the sweep in ``folder``, given those that started it.

    Overrides that are not used from a saved file are repeated: beside ``resume`` if all belong to the launcher,
    otherwise the whole command is.
    """
    parsed = [one for one in parse(typed) if one.key_or_group != _FOLDER and not typed_only(one.key_or_group)]
    refused = [one for one in parsed if refusal(one) is not None]
    if all(_goes_with_resume(one) for one in refused):
        return [path_setting("resume", folder), *_lines(refused)]
    return ["-m", *_lines(parsed), f"{_FOLDER}={quoted(folder)}"]


def _lines(overrides: Sequence[Override]) -> list[str]:
    """The overrides as typed; keys that are swept together are one argument."""
    return list(dict.fromkeys(str(one.input_line) for one in overrides))


def _refuse_untrusted(override: Override, path: str) -> None:
    why = refusal(override)
    if why is None:
        return
    if _goes_with_resume(override):
        how = "type it again beside resume"
    else:
        how = f"type the whole command again, with {_FOLDER}={path}"
    raise UserError(
        f"{Path(path) / SWEEP}: {override.input_line}: {why}, so it is not used from a saved file; if you trust it, "
        f"{how}"
    )


def _goes_with_resume(override: Override) -> bool:
    name = override.key_or_group
    return of_sweep(override) or typed_only(name) or (name.startswith("hydra") and name != _FOLDER)
