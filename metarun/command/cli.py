"""The command ``metarun``: compose, check, run; one clear line for every mistake, and an exit code that says whose.

0: done. 1: our bug, its traceback in the run's log. 2: a mistake of the user's. 3: meta-training diverged. 130: stopped
by the user.

An error in a part of the user's own is theirs: one line with its place, and its traceback, in the run's log where there
is one, else above that line.
"""

import json
import logging
import os
import shutil
import sys
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from filelock import Timeout
from hydra import version
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from metarun.command.completion import candidates
from metarun.command.help import help_text
from metarun.config.compose import CONFIG_NAME, CONFIG_PATH, compose, explained, folder_named, one_line, parse, plain
from metarun.config.following import as_comments, followed
from metarun.config.groups import SWEEP
from metarun.config.hydra import get_args_parser, run_hydra
from metarun.config.quoting import command_line, path_setting, quoted, to_paste, with_plain_paths
from metarun.config.together import with_single_choices_apart
from metarun.core.account import give_name
from metarun.core.color import colored
from metarun.core.errors import Diverged, Interrupted, Lost, OwnCodeError, UserError
from metarun.core.lock import held
from metarun.core.names import shown
from metarun.core.output import forgiving
from metarun.core.version import __version__
from metarun.runs.failures import OurBug, bug, named, write_to_log
from metarun.runs.files import LOG, holds_a_run
from metarun.runs.status import NAME as STATUS
from metarun.runs.status import write_status
from metarun.setup import own_parts
from metarun.setup.saved import with_saved_run
from metarun.setup.settings import Settings
from metarun.sweep.again import saved_sweep
from metarun.sweep.launching import chosen, refuse_missing

if TYPE_CHECKING:
    from metarun.engine.processes.group import ProcessGroup

PLAIN_SWEEP = "grid"
"""The option of the group sweep that a single run has, and does not use."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    give_name()
    with forgiving():
        return _main(list(sys.argv[1:] if arguments is None else arguments))


def _main(arguments: list[str]) -> int:
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return _with_others(arguments)
    ending = _ended(arguments)
    if ending is None:
        return 0
    print(f"{ending.trace}{colored('metarun:', 'red', sys.stderr)} {ending.line}", file=sys.stderr)
    return ending.code


def _with_others(arguments: list[str]) -> int:
    """Run the command line as one of torchrun's processes."""
    from metarun.engine.processes.group import joined

    try:
        with joined() as processes:
            ending = _ended(arguments, processes)
            if ending is None:
                return 0
            processes.fail(*ending)
            return ending.code
    except UserError as error:
        print(f"metarun: {one_line(str(error))}", file=sys.stderr)
        return 2


class _Ending(NamedTuple):
    """How a command failed: the line to tell, the exit code, and a traceback that belongs above the line."""

    line: str
    code: int
    trace: str = ""


def _ended(arguments: list[str], processes: "ProcessGroup | None" = None) -> _Ending | None:
    """Run the command line; returns how it failed, if it did."""
    try:
        with _hydra_that_raises():
            _run(arguments, processes)
    except OwnCodeError as error:
        return _Ending(one_line(str(error)), 2, "".join(traceback.format_exception(error.__cause__)))
    except Diverged as error:
        return _Ending(one_line(str(error)), 3)
    except UserError as error:
        return _Ending(one_line(str(error)), 2)
    except (Interrupted, KeyboardInterrupt) as error:
        return _Ending(one_line(str(error) or "stopped"), 130)
    except OurBug as error:
        return _Ending(one_line(str(error)), 1)
    except Lost as error:
        return _Ending(one_line(str(error)), error.code, error.trace)
    except Exception as error:
        which = "" if processes is None else f" in process {processes.rank} of {processes.count}"
        return _Ending(f"this is {bug(error)}{which}", 1, traceback.format_exc())
    return None


@contextmanager
def _hydra_that_raises() -> Iterator[None]:
    """Keep Hydra from printing errors and leaving by itself."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before


def _run(arguments: list[str], processes: "ProcessGroup | None") -> None:
    if "--version" in arguments:
        if processes is None or processes.first:
            print(f"metarun {__version__}")
        return
    version.setbase("1.3")
    parser = _parser()
    flags = parser.parse_intermixed_args(arguments)
    flags.overrides = with_single_choices_apart(with_plain_paths(flags.overrides, sweep=flags.multirun))
    if flags.config_dir is not None and not Path(flags.config_dir).is_dir():
        raise UserError(f"--config-dir {flags.config_dir}: no such folder")
    if flags.config_dir is not None:
        own_parts.find(flags.config_dir)
    if processes is not None and not processes.first:
        _follow(flags, processes)
        return
    if flags.help:
        print(help_text(flags.overrides, flags.config_dir))
        return
    if flags.shell_completion and flags.overrides[:1] in (["query=bash"], ["query=zsh"], ["query=fish"]):
        separator = "\n" if flags.overrides[0].endswith("fish") else " "
        print(separator.join(candidates(os.environ.get("COMP_LINE", ""))))
        return
    if flags.hydra_help or flags.shell_completion or flags.info:
        _start(flags, parser, lambda config: None)
        return
    if flags.multirun and flags.cfg:
        raise UserError("--cfg shows one run's settings; leave out -m")
    if flags.resolve and not flags.cfg:
        raise UserError("--resolve goes with --cfg job")
    again = saved_sweep(flags.overrides, parse(flags.overrides))
    if again is not None:
        flags.overrides, flags.multirun = again, True
    typed = list(flags.overrides)
    refuse_missing(chosen(parse(flags.overrides)))
    flags.overrides = with_saved_run(flags.overrides, parse(flags.overrides), flags.config_dir, sweep=flags.multirun)
    config = compose(flags.overrides, flags.config_dir, sweep=flags.multirun)
    if flags.cfg:
        _show(flags, parser, config)
        return
    values = plain(config, config.hydra.runtime.choices)
    settings = own_parts.checked(values, flags.config_dir)
    asks = any(override.key_or_group == "mode" and "info" in str(override.input_line) for override in parse(typed))
    if asks and (processes is not None or flags.multirun or config.hydra.mode == RunMode.MULTIRUN):
        raise UserError("mode=info: tells of one run, in one process; write metarun mode=info, without -m or torchrun")
    if asks:
        _inform(settings, folder_named(config, "hydra.run.dir"), typed)
    elif flags.multirun or config.hydra.mode == RunMode.MULTIRUN:
        if processes is not None:
            raise UserError(
                "-m: torchrun starts several processes for one run; sweep with metarun -m, without torchrun, "
                "or start torchrun once for each job"
            )
        _refuse_sweepers(config, typed)
        from metarun.sweep.sweeping import sweep

        sweep(flags.overrides, flags.config_dir, typed)
    else:
        if config.hydra.runtime.choices[SWEEP] != PLAIN_SWEEP:
            raise UserError(f"sweep={config.hydra.runtime.choices[SWEEP]}: chooses many runs; write metarun -m")
        _run_once(
            flags, parser, folder_named(config, "hydra.run.dir"), values, processes, resumed=settings.resume is not None
        )


def _show(flags: Namespace, parser: ArgumentParser, config: DictConfig) -> None:
    """Print what Hydra composes (``--cfg``); of a job, with the values of what is ``auto`` and where they come from."""
    found = followed(config, config.hydra.runtime.choices) if flags.cfg == "job" else {}
    flags.overrides = [*flags.overrides, *(f"{key}={shown(value)}" for key, (value, _) in found.items())]
    _start(flags, parser, lambda config: None)
    if flags.package is None:
        print("\n".join(as_comments(found)), end="\n" if found else "")


def _inform(settings: Settings, folder: Path, typed: Sequence[str]) -> None:
    """Print what the run would be, and the line that runs it."""
    from metarun.modes.info import describe

    mode = "train" if settings.checkpoint is None else "test"
    settings = replace(settings, mode=mode, plain={**settings.plain, "mode": mode})
    if settings.resume is None:
        _refuse_taken(folder)
    with own_parts.blaming(settings.plain):
        print(describe(settings, folder))
    rest = [text for text in typed if not text.startswith("mode=")]
    again = command_line(settings.plain, *(["mode=test"] if mode == "test" else []), *rest)
    print(f"\nNothing was run or written. To run it: {again}")


def _refuse_taken(folder: Path) -> None:
    if holds_a_run(folder):
        again = to_paste(path_setting("resume", folder))
        raise UserError(f"hydra.run.dir={folder}: holds a run already; choose another folder, or {again}")


def _follow(flags: Namespace, processes: "ProcessGroup") -> None:
    """Take part in the run that the first process has composed."""
    from metarun.training.experiment import run

    if _only_tells(flags):
        return
    folder, values = json.loads(processes.told(""))
    with own_parts.blaming(values):
        run(own_parts.checked(values, flags.config_dir), Path(folder), processes)


def _only_tells(flags: Namespace) -> bool:
    """Whether the command only answers a question."""
    return bool(flags.help or flags.hydra_help or flags.shell_completion or flags.info or flags.cfg)


def _parser() -> ArgumentParser:
    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message} (metarun --hydra-help lists the flags)")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    return parser


def _start(flags: Namespace, parser: ArgumentParser, task: object) -> None:
    """Hand over to Hydra, which calls ``task(config)`` for every job."""
    try:
        run_hydra(
            args=flags,
            args_parser=parser,
            task_function=task,  # type: ignore[arg-type]
            config_path=CONFIG_PATH,
            config_name=CONFIG_NAME,
        )
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise explained(error) from error


def _job(config: DictConfig, config_dir: str | None, processes: "ProcessGroup | None" = None) -> float:
    """Run what Hydra composed."""
    from metarun.training.experiment import run

    hydra = HydraConfig.get()
    values = plain(config, hydra.runtime.choices)
    settings, folder = own_parts.checked(values, config_dir), Path(hydra.runtime.output_dir)
    with own_parts.blaming(values):
        return run(settings, folder) if processes is None else run(settings, folder, processes)


def _run_once(
    flags: Namespace,
    parser: ArgumentParser,
    folder: Path,
    values: dict[str, Any],
    processes: "ProcessGroup | None",
    *,
    resumed: bool,
) -> None:
    if not resumed:
        _refuse_taken(folder)
    traces = _Traces(folder)
    status_before = _status(folder)
    failures: list[BaseException] = []
    config_dir = flags.config_dir

    def task(config: DictConfig) -> None:
        # Kept for later: Hydra would print more about an exception than one line.
        try:
            with _held(folder):
                _job(config, config_dir, processes)
        except (Exception, KeyboardInterrupt) as error:
            failures.append(error)

    if processes is not None:
        processes.told(json.dumps([str(folder), values]))
    flags.overrides.append(f"hydra.run.dir={quoted(str(folder))}")
    try:
        _start(flags, parser, task)
    except OSError as error:
        traces.remove()
        raise UserError(f"hydra.run.dir={folder}: cannot be written: {error.strerror or error}") from error
    if failures:
        _end(failures[0], folder, traces, begun=_status(folder) != status_before)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a run's folder. Raises `UserError` where another process runs in it."""
    lock = held(folder, wait=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError(f"{folder}: another process runs there; wait for it, or stop it") from error
    try:
        yield
    finally:
        lock.release()


def _status(folder: Path) -> str | None:
    """The text of a folder's status file; it changes when a run begins its work there."""
    file = folder / STATUS
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _end(error: BaseException, folder: Path, traces: "_Traces", *, begun: bool) -> NoReturn:
    """Leave a failed run's folder as it should be found, and raise what the user is to be told."""
    if isinstance(error, Interrupted):
        raise error
    if isinstance(error, UserError | KeyboardInterrupt | Lost):
        if not begun:
            traces.remove()
        elif isinstance(error, KeyboardInterrupt):
            write_status(folder, "interrupted", reason="stopped at once")
        else:
            write_to_log(error)
            write_status(folder, "failed", reason=one_line(str(error)))
            if isinstance(error, OwnCodeError):
                raise UserError(f"{error} (traceback in {folder / LOG})") from error
        raise error
    write_to_log(error)
    write_status(folder, "failed", reason=named(error))
    raise OurBug(f"this is {bug(error)} (traceback in {folder / LOG})") from error


def _refuse_sweepers(config: DictConfig, overrides: Sequence[str]) -> None:
    """Hydra's own sweepers, and names of jobs, would know nothing of what was done before."""
    if any(override.key_or_group == "hydra.sweep.subdir" for override in parse(overrides)):
        raise UserError("hydra.sweep.subdir: metarun names jobs itself, so that it finds them again; leave it out")
    name = config.hydra.runtime.choices["hydra/sweeper"]
    if name != "basic":
        raise UserError(f"hydra/sweeper={name}: metarun chooses jobs by itself; use sweep=grid, random or optuna")


class _Traces:
    """What was at a folder's place before this process, to remove what came since."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.missing = [place for place in (folder, *folder.parents) if not place.exists()]
        self.content = set(folder.iterdir()) if folder.is_dir() else set()

    def remove(self) -> None:
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.FileHandler):
                handler.close()
        if self.folder.is_dir():
            for path in set(self.folder.iterdir()) - self.content:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for place in self.missing:
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
