"""The data sets that a run is meta-tested on besides its own: ``test_dataset``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from metarun.config.groups import TESTS
from metarun.core.errors import UserError
from metarun.core.names import shown
from metarun.datasets.base import Dataset, Problem, data_name, problem, source_of
from metarun.learner.learner import Learner, MetaParameters
from metarun.setup.assemble import assembled, check_test, trained_for
from metarun.setup.settings import Settings

DIVISION = ("split", "split_seed", "fractions")
"""What a source says of how its data are divided into meta-train, meta-val and meta-test."""
_PLACES = ("file", "folder", "content")
"""What distinguishes sources of the same dataset."""


@dataclass(frozen=True)
class FurtherTest:
    """One of them: its data, and the learner for its tasks.

    alike: whether its tasks are in all shapes like those of the run's own test, so that the same learner takes both.
    """

    name: str
    dataset: Dataset
    learner: Learner
    alike: bool

    @property
    def data(self) -> str:
        """The name of the data."""
        return data_name(source_of(self.dataset))


def further_tests(
    settings: Settings, main: Dataset, learner: Learner, phi: MetaParameters, device: torch.device, **changes: Any
) -> list[FurtherTest]:
    """Load what ``test_dataset`` names, and build what is tested on it.

    learner, phi: those for ``main``, the run's dataset. changes: keys of those that have them, such as ``download``.

    Raises `UserError` for data that what is trained cannot be tested on: tasks of another kind, with other inputs or
    as many other classes as its parameters do not allow, and the data of training divided in another way.
    """
    tests = []
    for name, config in settings.test_dataset.items():
        kept = {key: value for key, value in changes.items() if hasattr(config, key)}
        dataset = settings.load_test_dataset(name, device, **kept)
        posed = problem(dataset, settings.likelihood)
        check_test(settings, problem(main, settings.likelihood), posed, name)
        trained = trained_for(settings, problem(main, settings.likelihood))
        _refuse_other_division(f"{TESTS}.{name}", posed.source, trained.source)
        for_these = trained.tested_on(posed)
        alike = for_these == learner.problem and _shapes(dataset) == _shapes(main)
        if alike and posed.source == source_of(main):
            raise UserError(f"{TESTS}.{name}: the run is already tested on it; leave it out, or set other keys")
        mine = learner if alike else _fitting(settings, for_these, learner, phi, device, name)
        tests.append(FurtherTest(name, dataset, mine, alike))
    return tests


def _fitting(
    settings: Settings, posed: Problem, learner: Learner, phi: MetaParameters, device: torch.device, name: str
) -> Learner:
    """The learner for a problem, which the parameters of ``learner`` must fit."""
    main, found = learner.problem, assembled(settings, posed, device)
    made, other = found
    if _sizes(other) == _sizes(phi):
        return made
    for noun, now, then in (
        ("inputs of shape", posed.inputs.shape, main.inputs.shape),
        ("descriptors of size", posed.descriptor_size, main.descriptor_size),
        (main.kind.noun, posed.kind.targets, main.kind.targets),
    ):
        if now != then:
            raise UserError(
                f"{TESTS}.{name}: its tasks have {noun} {shown(now)}, and what is trained takes {shown(then)} "
                f"({data_name(main.source)}); choose data of that shape"
            )
    raise UserError(f"{TESTS}.{name}: its tasks need a learner with other parameters; leave it out")


def _sizes(phi: MetaParameters) -> dict[str, dict[str, torch.Size]]:
    return {group: {name: tensor.shape for name, tensor in tensors.items()} for group, tensors in phi.items()}


def _shapes(dataset: Dataset) -> list[torch.Size]:
    """The shapes of a meta-test task."""
    return [tensor.shape for tensor in tree_leaves(dataset.sample("test", 0, 1)) if isinstance(tensor, Tensor)]


def _refuse_other_division(place: str, source: Mapping[str, Any], trained: Mapping[str, Any]) -> None:
    """Refuse the data of training where they are divided in another way: a test would meet classes of training."""
    if source["dataset"] != trained.get("dataset") or any(source.get(key) != trained.get(key) for key in _PLACES):
        return
    for key in DIVISION:
        if source.get(key) != trained.get(key):
            raise UserError(
                f"{place}: these are the data of training, and what was trained on may be in its meta-test: {key} is "
                f"{shown(source.get(key))} here and {shown(trained.get(key))} in training; use the same split"
            )
