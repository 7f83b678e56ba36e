"""``mode=test``: meta-test a checkpoint."""

from metarun.modes.running import Call
from metarun.training.experiment import experiment
from metarun.training.meta_test import meta_test


def run(call: Call) -> None:
    with experiment(call.settings, call.folder, call.processes, call.swept, call.stop_file) as one:
        meta_test(one, one.state)
