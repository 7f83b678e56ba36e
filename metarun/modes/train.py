"""``mode=train``: meta-train, then meta-test the best checkpoint."""

from metarun.core.errors import UserError
from metarun.engine.processes.single import Processes
from metarun.modes.running import Call
from metarun.setup.settings import Settings
from metarun.training.experiment import experiment, meta_train
from metarun.training.meta_test import meta_test


def run(call: Call) -> None:
    _refuse_idle(call.settings, call.processes)
    with experiment(call.settings, call.folder, call.processes, call.swept, call.stop_file) as one:
        meta_test(one, meta_train(one))


def _refuse_idle(settings: Settings, processes: Processes) -> None:
    """Refuse more processes than tasks of a meta-batch: each needs one. Raises `UserError`."""
    tasks = settings.engine.meta_batch_size
    if tasks < processes.count:
        raise UserError(
            f"engine.meta_batch_size={tasks}: fewer tasks than processes; start at most {tasks} of these, "
            f"or give {processes.count} or more tasks"
        )
