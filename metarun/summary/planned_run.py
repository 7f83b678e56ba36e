"""A run that is set up and not started."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from metarun.config.groups import TESTS
from metarun.core.errors import UserError
from metarun.datasets.base import Dataset
from metarun.engine.processes.single import SINGLE_PROCESS
from metarun.learner.learner import Learner, MetaParameters
from metarun.runs.checkpoint import State
from metarun.setup.assemble import compose
from metarun.setup.settings import Settings
from metarun.setup.suite import FurtherTest, further_tests
from metarun.training.initial_state import first_state
from metarun.training.part_checks import check_user_parts, check_user_test_data


@dataclass(frozen=True)
class PlannedRun:
    """The parts of a run, and the state in which it would start."""

    settings: Settings
    folder: Path
    device: torch.device
    dataset: Dataset
    tests: Sequence[FurtherTest]
    learner: Learner
    phi: MetaParameters
    state: State

    def choice(self, group: str) -> str:
        """As on the command line: ``model=conv4``."""
        return f"{group}={self.settings.plain['choices'][group]}"


def plan(settings: Settings, folder: Path) -> PlannedRun:
    """Set up the run of these settings in ``folder``, without starting it.

    Data are read. Nothing is computed with them, except to check user parts, and nothing is written, except to the
    cache of decoded images.

    Raises `UserError` for everything that the run itself would refuse before its first step.
    """
    device = settings.device.resolve()
    dataset = _load_dataset(settings, device)
    learner, phi = compose(settings, dataset, device)
    check_user_parts(settings, learner, phi, dataset)
    tests = _load_tests(settings, dataset, learner, phi, device)
    check_user_test_data(settings, tests)
    state = first_state(settings, dataset, folder, phi, device, SINGLE_PROCESS, tests)
    return PlannedRun(settings, folder, device, dataset, tests, learner, phi, state)


def _load_dataset(settings: Settings, device: torch.device) -> Dataset:
    """The dataset, without downloading it."""
    config, key = settings.dataset, "download"
    if not any(field.name == key and getattr(config, key) is True for field in fields(config)):  # type: ignore[arg-type]
        return settings.load_dataset(device)
    try:
        return settings.load_dataset(device, **{key: False})
    except UserError as error:
        option = settings.plain["choices"]["dataset"]
        raise UserError(f"mode=info downloads nothing, and dataset={option} is not there yet: {error}") from error


def _load_tests(
    settings: Settings, dataset: Dataset, learner: Learner, phi: MetaParameters, device: torch.device
) -> list[FurtherTest]:
    """Further test data, without downloading them."""
    asked = [name for name, config in settings.test_dataset.items() if getattr(config, "download", False) is True]
    try:
        return further_tests(settings, dataset, learner, phi, device, download=False)
    except UserError as error:
        if any(str(error).startswith(f"{TESTS}.{name}: no ") for name in asked):
            raise UserError(f"mode=info downloads nothing, and some data are not there yet: {error}") from error
        raise
