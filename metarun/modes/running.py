"""Running the mode of the settings."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metarun.config.modes import named
from metarun.engine.processes.single import SINGLE_PROCESS, Processes
from metarun.setup import user_parts
from metarun.setup.settings import Settings


@dataclass(frozen=True)
class Call:
    """One use of a mode.

    folder: the run folder; of a mode that does not write, the folder that a run would have. typed: the overrides of the
    command line; empty in a sweep. swept: the groups and full key names that differ between the jobs of a sweep.
    stop_file: the run stops when this file appears.
    """

    settings: Settings
    folder: Path
    processes: Processes = SINGLE_PROCESS
    typed: Sequence[str] = ()
    swept: Sequence[str] = ()
    stop_file: Path | None = None


def run(call: Call) -> None:
    """Run the mode that the settings name. Raises what the mode raises; errors in the user's own parts as such."""
    module = importlib.import_module(named(call.settings.mode).module)
    with user_parts.blaming(call.settings.plain):
        module.run(call)


def run_job(settings: Settings, folder: Path, processes: Processes, swept: Sequence[str], stop_file: Path) -> None:
    """Run a job of a sweep."""
    run(Call(settings, folder, processes, swept=swept, stop_file=stop_file))
