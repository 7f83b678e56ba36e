"""A sweep's job, as Hydra's launchers call it, in this process or another, here or on another machine."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from metarun.config.compose import one_line, plain
from metarun.core.account import give_name
from metarun.core.errors import Interrupted, UserError
from metarun.core.lock import held
from metarun.core.output import forgiving
from metarun.runs.failures import named, write_to_log
from metarun.runs.status import NAME as STATUS
from metarun.runs.status import write_status
from metarun.setup import user_parts
from metarun.setup.settings import Settings
from metarun.sweep import folder as folders
from metarun.sweep.folder import SweepFolder

if TYPE_CHECKING:
    from metarun.engine.processes.single import Processes


class JobFailed(Exception):
    """A job ended without a result; its folder says why."""


class Runs(Protocol):
    """What runs the settings of a job, in the mode that they name."""

    def __call__(
        self, settings: Settings, folder: Path, processes: "Processes", swept: Sequence[str], stop_file: Path
    ) -> None: ...


@dataclass(frozen=True)
class Job:
    """Runs what is composed for it, in the folder that Hydra made.

    It begins where an earlier start of it stood, and does nothing if that came to its end. keys: what the sweep varies.
    neighbors: jobs that share the machine, it among them. run: see `Runs`; a function that other processes can import.
    """

    run: Runs
    sweep: Path
    keys: Sequence[str]
    config_dir: str | None
    neighbors: int
    stop_on_failure: bool

    def __call__(self, config: DictConfig) -> None:
        """Raises `JobFailed`."""
        give_name()
        with forgiving():
            self._started(config)

    def _started(self, config: DictConfig) -> None:
        hydra = HydraConfig.get()
        place, stop = Path(hydra.runtime.output_dir), SweepFolder(self.sweep).stop_file
        _to_the_log_alone()
        if stop.exists():
            _untouched(place)
            raise JobFailed("the sweep was stopped before it")
        with ExitStack() as stack:
            # A job of a sweep that was killed may still be on its way to its end.
            stack.enter_context(held(place, wait=True))
            if folders.state(place)["status"] == "done":
                return
            try:
                self._run(config, place, stack)
            except (Interrupted, KeyboardInterrupt) as error:
                stop.touch()
                if isinstance(error, KeyboardInterrupt):
                    write_status(place, "interrupted", reason="stopped at once")
                raise JobFailed("interrupted") from None
            except Exception as error:
                mistake = isinstance(error, UserError)
                reason = one_line(str(error)) if mistake else named(error)
                write_to_log(error)
                write_status(place, "failed", reason=reason, **({} if mistake else {"bug": True}))
                if self.stop_on_failure:
                    stop.touch()
                raise JobFailed(reason) from None

    def _run(self, config: DictConfig, place: Path, stack: ExitStack) -> None:
        from metarun.sweep.concurrent_job import ConcurrentJob

        if self.config_dir is not None:
            user_parts.find(self.config_dir)
        values = plain(config, HydraConfig.get().runtime.choices)
        if folders.can_go_on(place):
            values["resume"] = str(place)
        else:
            folders.cleared(place)
        settings, stop = user_parts.checked(values, self.config_dir), SweepFolder(self.sweep).stop_file
        self.run(settings, place, ConcurrentJob(self.neighbors, stack), tuple(self.keys), stop)


def _to_the_log_alone() -> None:
    """Keep a job's lines off the terminal, which many may share; they are in its log."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.CRITICAL)


def _untouched(place: Path) -> None:
    """Leave no trace of a job that did not begin: Hydra had made its folder and its log."""
    if (place / STATUS).exists():
        return
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.close()
    for path in place.iterdir():
        if path.is_file() and not path.stat().st_size:
            path.unlink()
    if not any(place.iterdir()):
        place.rmdir()
