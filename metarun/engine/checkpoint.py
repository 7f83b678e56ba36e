"""A run's state on disk: all that is needed to go on as if nothing had happened."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from metarun.datasets.base import Problem
from metarun.engine import saved_problem
from metarun.errors import UserError
from metarun.learner import MetaParameters
from metarun.models.base import STATISTICS

FORMAT = 4


@dataclass
class Best:
    """The best validated φ so far: the meta-update after which it stood, and its meta-val summary."""

    step: int
    metrics: dict[str, dict[str, float | int]]


@dataclass
class State:
    """Everything that changes during meta-training.

    step: meta-updates done. decisions: choices that change rounding, made once for a run. tasks: names of the known
    tasks, where φ has something of each. kept: φ* of a sequence with the output regulariser, else empty. forgetting: a
    row for each group learned, the metric on every group. seconds: spent in meta-training so far; measured_steps and
    measured_seconds: those of them that count for the speed.
    """

    step: int
    phi: MetaParameters
    optimiser: dict[str, Any]
    best: Best | None
    decisions: dict[str, Any]
    tasks: list[str] = field(default_factory=list)
    kept: MetaParameters = field(default_factory=dict)
    forgetting: list[list[float]] = field(default_factory=list)
    seconds: float = 0.0
    measured_steps: int = 0
    measured_seconds: float = 0.0

    def speed(self, meta_batch_size: int) -> float | None:
        """Tasks per second in the steady state; ``None`` before there is one."""
        return self.measured_steps * meta_batch_size / self.measured_seconds if self.measured_steps else None


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: the run's settings in builtin types, what its learner was built for, and its state."""

    config: Any
    problem: Problem
    state: State


def save(path: Path, state: State, config: dict[str, Any], problem: Problem) -> None:
    """Write a checkpoint whole or not at all; ``config`` is the run's, in builtin types."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    content = {
        "format": FORMAT,
        "config": config,
        "problem": saved_problem.to_plain(problem),
        "state": {**vars(state), "best": asdict(state.best) if state.best else None},
    }
    try:
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path, like: MetaParameters, device: torch.device) -> State:
    """The state in a checkpoint, for a learner whose φ has the names and shapes of ``like``.

    Raises `UserError` for a file that is none, is broken, or belongs to another learner.
    """
    state = read(path, device).state
    fit(path, state, like)
    return state


def read(path: Path, device: torch.device) -> Checkpoint:
    """A checkpoint, whatever learner it belongs to. Raises `UserError` for a file that is none or is broken."""
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a file that is none of its own
        raise UserError(f"{path}: not a checkpoint of metarun, or a broken one") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path}: not a checkpoint of this version of metarun (format {FORMAT})")
    with _broken(path):
        best = content["state"].pop("best")
        state = State(best=Best(**best) if best else None, **content["state"])
        _refuse_nonsense(path, state)
        return Checkpoint(content["config"], saved_problem.from_plain(content["problem"]), state)


def fit(path: Path, state: State, like: MetaParameters) -> None:
    """Bring a state that was read from ``path`` to the precision of ``like``.

    Raises `UserError` where its φ has other names or shapes.
    """
    with _broken(path):
        _refuse_others(path, state.phi, like)
        if state.kept:
            _refuse_others(path, state.kept, like)


@contextmanager
def _broken(path: Path) -> Iterator[None]:
    """Tell what goes wrong with the values in a checkpoint as one line."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path}: a broken checkpoint ({error})") from error


def _refuse_nonsense(path: Path, state: State) -> None:
    """Values that no run saves. Raises `UserError`, `TypeError` or `ValueError`."""
    if not all(tensor.isfinite().all() for group in state.phi.values() for tensor in group.values()):
        raise UserError(f"{path}: holds parameters that are not finite; nothing can be done with them")
    if type(state.step) is not int or state.step < 0 or type(state.decisions["threads"]) is not int:
        raise ValueError("step or decisions")
    if not all(isinstance(value, float) for row in state.forgetting for value in row):
        raise ValueError("forgetting")
    if len({len(row) for row in state.forgetting}) > 1 or not all(isinstance(name, str) for name in state.tasks):
        raise ValueError("forgetting or tasks")


def _refuse_others(path: Path, phi: MetaParameters, like: MetaParameters) -> None:
    for group in like:
        if phi[group].keys() != like[group].keys():
            name = min(phi[group].keys() ^ like[group].keys())
            hint = "; keep the model.normalisation of the run" if name.startswith(STATISTICS) else ""
            raise UserError(
                f"{path}: saved with other parts than these settings make: {group} differs in '{name}'{hint}"
            )
        for name, tensor in like[group].items():
            if phi[group][name].shape != tensor.shape:
                raise UserError(
                    f"{path}: '{name}' of {group} has shape {tuple(phi[group][name].shape)} there, and these settings "
                    f"make {tuple(tensor.shape)}"
                )
            phi[group][name] = phi[group][name].to(tensor.dtype)
