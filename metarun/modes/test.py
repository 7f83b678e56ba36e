"""``mode=test``: meta-test a checkpoint."""

from metarun.modes.running import Call
from metarun.training.experiment import experiment


def run(call: Call) -> None:
    with experiment(call.settings, call.folder, call.processes, call.swept, call.stop_file) as one:
        one.test(one.state)
