"""What the tests of sweeps share."""

import pytest
from fake_runs import Experiment, Runs


@pytest.fixture
def runs(experiment: Experiment) -> Runs:
    """Runs that end at once, as they are told to."""
    found = Runs()
    experiment(found)
    return found
