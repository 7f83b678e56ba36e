"""``mode=optimize``: choose configurations on new data sets with a meta-learner, and with other methods."""

from metarun.modes.running import Call
from metarun.training.experiment import experiment, meta_train
from metarun.training.meta_test import meta_test
from metarun.training.optimization import optimize, refuse_unsuitable


def run(call: Call) -> None:
    """Meta-train unless a checkpoint is given, optimize, and meta-test."""
    with experiment(call.settings, call.folder, call.processes, call.swept, call.stop_file, refuse_unsuitable) as one:
        tested = meta_train(one) if call.settings.trains else one.state
        # Before the meta-test, whose result says that the run is done.
        optimize(one, tested.phi)
        meta_test(one, tested)
