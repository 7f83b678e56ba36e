"""Running a function as Hydra runs a job, from a configuration that is composed already."""

from collections.abc import Callable

from hydra.core.utils import configure_log, run_job
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, read_write

from metarun.config.compose import CONFIG_NAME, loading
from metarun.config.hydra import Callbacks
from metarun.config.quoting import escaped

RUN_DIR = "hydra.run.dir"


def run_as_job(config: DictConfig, folder: str, config_dir: str | None, task: Callable[[DictConfig], object]) -> None:
    """Call ``task`` once with ``folder`` made, logging set up and Hydra's callbacks called.

    ``hydra.main`` would compose the configuration again, twice. ``task`` should keep its exceptions to itself: Hydra
    prints more about them than one line.
    """
    with read_write(config.hydra):
        config.hydra.run.dir = escaped(folder)
        config.hydra.mode = RunMode.RUN
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    callbacks = Callbacks(config)
    callbacks.on_run_start(config=config, config_name=CONFIG_NAME)
    with loading(config_dir) as loader:
        done = run_job(
            hydra_context=HydraContext(config_loader=loader, callbacks=callbacks),
            task_function=task,
            config=config,
            job_dir_key=RUN_DIR,
            job_subdir_key=None,
        )
    callbacks.on_run_end(config=config, config_name=CONFIG_NAME, job_return=done)
