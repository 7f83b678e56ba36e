"""Starting jobs by Hydra's launchers: one after another, several at once, on a cluster."""

import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig

from metarun.core.errors import UserError
from metarun.sweep.folder import SweepFolder
from metarun.sweep.job import Job
from metarun.training.stopping import on_signal

EXTRAS = {"joblib": "joblib", "submitit_local": "submitit", "submitit_slurm": "submitit", "ray": "ray"}
"""The extra that each launcher needs."""
READY = {
    "joblib": ("n_jobs=${sweep.parallel}", "batch_size=1", "pre_dispatch=all"),
    "submitit_local": ("timeout_min=10000",),
    # A job whose time limit is over is requeued, and resumes from its checkpoint.
    "submitit_slurm": ("array_parallelism=${sweep.parallel}", "max_num_timeout=20", "timeout_min=240"),
    "ray": ("+ray.init.num_cpus=${sweep.parallel}", "+ray.init.include_dashboard=false", "+ray.remote.num_cpus=1"),
}
"""What metarun sets of each launcher, unless the user does: keys of hydra.launcher."""
ONE_BY_ONE = "basic"
ALL_AT_ONCE = ("submitit_local",)
"""Launchers that begin whatever they are given at once: they are given what may run at once."""
ELSEWHERE = ("submitit_slurm",)
"""Launchers whose jobs have a share of a machine that a cluster gives them."""


def chosen(overrides: Sequence[Override]) -> str:
    """The launcher that a command line names, or Hydra's default."""
    names = [str(one.value()) for one in overrides if one.key_or_group == "hydra/launcher"]
    return names[-1] if names else ONE_BY_ONE


def refuse_missing(launcher: str) -> None:
    """Refuse a launcher that is not installed. Raises `UserError`."""
    if launcher in EXTRAS and not _installed(f"hydra_plugins.hydra_{EXTRAS[launcher]}_launcher"):
        raise UserError(f"hydra/launcher={launcher}: pip install 'metarun[{EXTRAS[launcher]}]'")


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it would be in
        return False


def refuse_parallel(launcher: str, parallel: int) -> None:
    """Refuse jobs at once where the launcher runs but one. Raises `UserError`."""
    if launcher == ONE_BY_ONE and parallel > 1:
        raise UserError(
            f"sweep.parallel={parallel}: this launcher runs one job after another; add hydra/launcher=joblib for "
            "several at once"
        )


def ready(launcher: str) -> list[str]:
    """The overrides that make a launcher fit for metarun's sweeps."""
    signs = [(text[: len(text) - len(text.lstrip("+"))], text.lstrip("+")) for text in READY.get(launcher, ())]
    return [f"{sign}hydra.launcher.{text}" for sign, text in signs]


def launched(context: HydraContext, config: DictConfig, job: Job, jobs: Sequence[list[str]], first: int) -> None:
    """Run jobs, given by their overrides, and wait until they have ended, one way or another.

    first: the number of the first. What became of them is in their folders.
    """
    name, parallel = str(config.hydra.runtime.choices["hydra/launcher"]), int(config.sweep.parallel)
    at_once = parallel if name in ALL_AT_ONCE else len(jobs)
    for begin in range(0, len(jobs), at_once):
        if SweepFolder(job.sweep).stop_file.exists():
            return
        launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=job, config=config
        )
        launcher.launch(jobs[begin : begin + at_once], initial_job_idx=first + begin)


def neighbors(config: DictConfig, jobs: int) -> int:
    """How many of a sweep's ``jobs`` share a machine, each of them counted.

    The launcher's own settings decide, which a user may have typed: ``hydra.launcher.n_jobs=4``.
    """
    name, launcher = str(config.hydra.runtime.choices["hydra/launcher"]), config.hydra.launcher
    if name in ELSEWHERE:
        return 1
    at_once = int(config.sweep.parallel)
    if name == "joblib":
        from joblib import effective_n_jobs

        at_once = effective_n_jobs(launcher.n_jobs or 1)  # -1: one for each core
    elif name == "ray":
        at_once = int((launcher.ray.init.num_cpus or os.cpu_count() or 1) // (launcher.ray.remote.num_cpus or 1))
    return max(1, min(at_once, jobs))


@contextmanager
def stopping(folder: SweepFolder) -> Iterator[None]:
    """Within, the first SIGINT or SIGTERM lets jobs save their state and end, and none begin; another stops at once."""

    def ask() -> None:
        with suppress(OSError):  # a folder that is gone
            folder.stop_file.touch()

    with on_signal(ask, "stopping after this step of each job (again to stop at once)"):
        yield
