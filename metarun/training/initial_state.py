"""The initial state of a run, and the decisions that it already contains."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from metarun.algorithms.base import Learned
from metarun.config.groups import TESTS
from metarun.core.errors import UserError
from metarun.datasets.base import Dataset
from metarun.engine.planning import BY_SHARE, EVALUATION
from metarun.engine.processes.single import Processes
from metarun.learner.learner import MetaParameters
from metarun.runs import checkpoint
from metarun.runs.checkpoint import State
from metarun.runs.files import best_file, checkpoint_files, saved
from metarun.setup.settings import Settings
from metarun.setup.suite import FurtherTest

log = logging.getLogger(__name__)


def first_state(
    settings: Settings,
    dataset: Dataset,
    folder: Path,
    phi: MetaParameters,
    device: torch.device,
    processes: Processes,
    tests: Sequence[FurtherTest] = (),
) -> State:
    """Where a run begins: at the start, where a stopped run stood, or at the checkpoint to test.

    folder: the run's. phi: φ at the start. tests: on which further data it will be tested. Raises `UserError` for a
    checkpoint that is none, is broken, or belongs to another learner, dataset or length of run.
    """
    state = _first_state(settings, dataset, folder, phi, device, processes)
    for one in tests:
        if one.dataset.known_tasks and settings.embedding.knows_tasks:
            _refuse_other_tasks(state, list(one.dataset.groups), f"{TESTS}.{one.name}")
    return state


def _first_state(
    settings: Settings,
    dataset: Dataset,
    folder: Path,
    phi: MetaParameters,
    device: torch.device,
    processes: Processes,
) -> State:
    known = list(dataset.groups) if settings.embedding.knows_tasks else []
    if settings.resume is not None:
        state = checkpoint.load_first(saved(folder), phi, device)
        _forget_damaged_best(state, folder, device)
        _refuse_other_tasks(state, known)
        if state.step > settings.engine.steps:
            raise UserError(f"engine.steps={settings.engine.steps}: the run has done {state.step:,} already; give more")
        if state.decisions.get("processes", 1) != processes.count:
            for decision in BY_SHARE:
                state.decisions.pop(decision, None)
            state.decisions["processes"] = processes.count
        return state
    if not settings.trains:
        assert settings.checkpoint is not None
        state = checkpoint.load_first(checkpoint_files(settings.checkpoint), phi, device)
        if dataset.known_tasks and settings.embedding.knows_tasks:
            _refuse_other_tasks(state, known)
        if state.step and not isinstance(settings.algorithm, Learned):
            raise UserError(
                f"algorithm={settings.plain['choices']['algorithm']}: starts from random parameters, and this "
                f"checkpoint holds those of {state.step:,} meta-updates; run it without mode=test"
            )
        for decision in (*EVALUATION, "threads"):
            state.decisions.pop(decision, None)  # the present settings decide
        state.decisions["processes"] = processes.count
        return state
    return State(
        step=0,
        phi=phi,
        optimizer={},
        best=None,
        decisions={"processes": processes.count},
        tasks=known,
    )


def _forget_damaged_best(state: State, folder: Path, device: torch.device) -> None:
    """Without its file the best state so far cannot be meta-tested: the best of the validations to come is, then."""
    if state.best is None:
        return
    try:
        checkpoint.read(best_file(folder), device)
    except UserError as error:
        log.warning("%s; the best state so far (step %s) is lost", error, f"{state.best.step:,}")
        state.best = None


def _refuse_other_tasks(state: State, known: list[str], where: str = "this dataset") -> None:
    """Rows of a table of task embeddings belong to certain tasks."""
    if state.tasks != known:
        others = sorted(set(state.tasks) ^ set(known)) or state.tasks
        raise UserError(
            f"the checkpoint has embeddings of known tasks that are not those of {where}: they differ in "
            f"'{others[0]}'; use the dataset that it was trained on"
        )
