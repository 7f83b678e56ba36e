"""Dispatch of a command line: a query, one run, or a sweep. Settings are composed and checked once."""

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import version
from hydra.types import RunMode
from omegaconf import DictConfig

from metarun.command.flags import parsed
from metarun.command.queries import answer, is_query, show
from metarun.command.run_folder import run_in
from metarun.config.compose import compose, folder_named, parse, plain
from metarun.config.groups import SWEEP
from metarun.config.job import RUN_DIR
from metarun.config.modes import named, refuse_several, refuse_unread
from metarun.core.errors import UserError
from metarun.core.version import __version__
from metarun.runs.files import refuse_taken
from metarun.setup import user_parts
from metarun.setup.saved import with_saved_run
from metarun.setup.settings import Settings
from metarun.sweep.launching import chosen, refuse_missing
from metarun.sweep.resume import resumed_overrides

if TYPE_CHECKING:
    from metarun.engine.processes.group import ProcessGroup

PLAIN_SWEEP = "grid"
"""The option of the group sweep that a single run has, and does not use."""


def dispatch(arguments: Sequence[str], processes: "ProcessGroup | None") -> None:
    """Do what a command line asks for. processes: those that share it, if there are several."""
    if "--version" in arguments:
        if processes is None or processes.is_main_process:
            print(f"metarun {__version__}")
        return
    version.setbase("1.3")
    flags = parsed(arguments)
    if processes is not None and not processes.is_main_process:
        _follow(flags, processes)
    elif is_query(flags) and not flags.cfg:
        answer(flags)
    else:
        _composed(flags, processes)


def _follow(flags: Namespace, processes: "ProcessGroup") -> None:
    """Take part in the run that the first process has composed."""
    from metarun.modes.running import Call, run

    if is_query(flags):
        return
    folder, values = json.loads(processes.broadcast_text(""))
    run(Call(user_parts.checked(values, flags.config_dir), Path(folder), processes))


def _composed(flags: Namespace, processes: "ProcessGroup | None") -> None:
    """Compose and check what was typed, and show or run it."""
    resumed = resumed_overrides(flags.overrides, parse(flags.overrides))
    if resumed is not None:
        flags.overrides, flags.multirun = resumed, True
    typed = list(flags.overrides)
    refuse_missing(chosen(parse(typed)))
    flags.overrides = with_saved_run(typed, parse(typed), flags.config_dir, sweep=flags.multirun)
    config = compose(flags.overrides, flags.config_dir, sweep=flags.multirun)
    if flags.cfg:
        show(flags, config)
        return
    values = plain(config, config.hydra.runtime.choices)
    settings = user_parts.checked(values, flags.config_dir)
    sweeps = flags.multirun or config.hydra.mode == RunMode.MULTIRUN
    refuse_several([settings.mode, *_modes(typed)], sweep=sweeps, processes=processes is not None)
    refuse_unread(settings.mode, [each.key_or_group for each in parse(typed) if not each.is_hydra_override()])
    if sweeps:
        _sweep(flags, config, typed, processes)
    else:
        _run(flags, config, values, settings, typed, processes)


def _modes(typed: Sequence[str]) -> list[str]:
    """The modes that a command line names, several in a sweep."""
    given = [one for one in parse(typed) if one.key_or_group == "mode"]
    return [
        text
        for one in given
        for text in (one.sweep_string_iterator() if one.is_discrete_sweep() else [str(one.value())])
    ]


def _run(
    flags: Namespace,
    config: DictConfig,
    values: dict[str, Any],
    settings: Settings,
    typed: Sequence[str],
    processes: "ProcessGroup | None",
) -> None:
    """One run, in this process or shared by several."""
    from metarun.modes.running import SINGLE_PROCESS, Call, run

    if config.hydra.runtime.choices[SWEEP] != PLAIN_SWEEP:
        raise UserError(f"sweep={config.hydra.runtime.choices[SWEEP]}: is for sweeps; write metarun -m")
    folder = folder_named(config, RUN_DIR)

    def work(place: Path) -> None:
        run(Call(settings, place, SINGLE_PROCESS if processes is None else processes, typed))

    if not named(settings.mode).writes:
        work(folder)
        return
    if settings.resume is None:
        refuse_taken(folder)
    if processes is not None:
        processes.broadcast_text(json.dumps([str(folder), values]))
    run_in(folder, config, flags.config_dir, work)


def _sweep(flags: Namespace, config: DictConfig, typed: Sequence[str], processes: "ProcessGroup | None") -> None:
    if processes is not None:
        raise UserError(
            "-m: torchrun starts several processes for one run; sweep with metarun -m, without torchrun, "
            "or start torchrun once for each job"
        )
    _refuse_sweepers(config, typed)
    from metarun.modes.running import run_job
    from metarun.sweep.sweeping import sweep

    sweep(flags.overrides, flags.config_dir, typed, run_job)


def _refuse_sweepers(config: DictConfig, overrides: Sequence[str]) -> None:
    """Hydra's own sweepers, and names of jobs, would know nothing of what was done before."""
    if any(override.key_or_group == "hydra.sweep.subdir" for override in parse(overrides)):
        raise UserError("hydra.sweep.subdir: metarun sets the names of jobs; leave it out")
    name = config.hydra.runtime.choices["hydra/sweeper"]
    if name != "basic":
        raise UserError(f"hydra/sweeper={name}: not supported; use sweep=grid, random or optuna")
