"""One run in its folder: held by one process, with a log, and left as it should be found however the run ends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from filelock import Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from metarun.command.cleanup import Cleanup
from metarun.config.compose import explained, one_line
from metarun.config.job import run_as_job
from metarun.core.errors import Interrupted, Lost, UserCodeError, UserError
from metarun.core.lock import held
from metarun.runs.failures import OurBug, bug, named, write_to_log
from metarun.runs.files import LOG, STATUS
from metarun.runs.status import write_status


def run_in(folder: Path, config: DictConfig, config_dir: str | None, work: Callable[[Path], object]) -> None:
    """Call ``work`` with the absolute path of the folder. config: the composed configuration.

    Raises what ``work`` raises, once the folder says how it ended; `OurBug` for what nobody should see; `UserError` for
    a folder that cannot be written or that another process runs in.
    """
    traces, status_before = Cleanup(folder), _status(folder)
    failures: list[BaseException] = []

    def task(_: DictConfig) -> None:
        try:
            with _held(folder):
                work(Path(HydraConfig.get().runtime.output_dir))
        except (Exception, KeyboardInterrupt) as error:
            failures.append(error)

    try:
        run_as_job(config, str(folder), config_dir, task)
    except OSError as error:
        traces.remove()
        raise UserError(f"hydra.run.dir={folder}: cannot be written: {error.strerror or error}") from error
    except (HydraException, OmegaConfBaseException) as error:
        raise explained(error) from error
    if failures:
        _end(failures[0], folder, traces, begun=_status(folder) != status_before)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a run's folder. Raises `UserError` where another process runs in it."""
    lock = held(folder, wait=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError(f"{folder}: in use by another process; wait for it, or stop it") from error
    try:
        yield
    finally:
        lock.release()


def _status(folder: Path) -> str | None:
    """The text of a folder's status file; it changes when a run begins its work there."""
    file = folder / STATUS
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _end(error: BaseException, folder: Path, traces: Cleanup, *, begun: bool) -> NoReturn:
    """Leave a failed run's folder as it should be found, and raise what the user is to read."""
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
            if isinstance(error, UserCodeError):
                raise UserError(f"{error} (traceback in {folder / LOG})") from error
        raise error
    write_to_log(error)
    write_status(folder, "failed", reason=named(error))
    raise OurBug(f"this is {bug(error)} (traceback in {folder / LOG})") from error
