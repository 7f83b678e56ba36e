"""The state of a run on disk: everything that is needed to resume it bit for bit."""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from metarun.core import tensor_file
from metarun.core.errors import UserError
from metarun.core.tensor_file import Damaged
from metarun.datasets.base import Problem
from metarun.engine.schema import conform
from metarun.learner.learner import MetaParameters
from metarun.models.base import STATISTICS
from metarun.runs import saved_problem

log = logging.getLogger(__name__)

FORMAT = 8


@dataclass
class Best:
    """The best validated φ so far: the meta-update after which it stood, and its meta-val summary."""

    step: int
    metrics: dict[str, dict[str, float | int]]


@dataclass
class State:
    """Everything that changes during meta-training.

    step: meta-updates done. decisions: choices that change rounding, made once for a run. tasks: names of the known
    tasks, where φ has something of each. kept: φ* of a sequence with the output regularizer, else empty. forgetting: a
    row for each group learned, the metric on every group. seconds: spent in meta-training so far; measured_steps and
    measured_seconds: those of them that count for the speed.
    """

    step: int
    phi: MetaParameters
    optimizer: dict[str, Any]
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
    content = {
        "format": FORMAT,
        "config": config,
        "problem": saved_problem.to_plain(problem),
        "state": {**vars(state), "best": asdict(state.best) if state.best else None},
    }
    tensor_file.write(path, content)


def load(path: Path, like: MetaParameters, device: torch.device) -> State:
    """The state in a checkpoint, for a learner whose φ has the names and shapes of ``like``.

    Raises `UserError` for a file that is not a checkpoint or of another learner, and `Damaged` for a damaged one.
    """
    state = read(path, device).state
    fit(path, state, like)
    return state


def load_first(files: Sequence[Path], like: MetaParameters, device: torch.device) -> State:
    """The state in the first of ``files`` that is not damaged, as `load`; one line says which are.

    Raises `UserError` if all are damaged.
    """
    damage = []
    for file in files:
        try:
            state = load(file, like, device)
        except Damaged as error:
            damage.append(str(error))
            continue
        for line in damage:
            log.warning("%s; using %s, of step %s, instead", line, file, f"{state.step:,}")
        return state
    raise Damaged("; ".join(damage))


def first_problem(files: Sequence[Path]) -> Problem:
    """What the learner was trained for whose state `load_first` finds in these files. Raises `UserError` likewise."""
    damage = []
    for file in files:
        try:
            return read(file, torch.device("cpu")).problem
        except Damaged as error:
            damage.append(str(error))
    raise Damaged("; ".join(damage))


def read(path: Path, device: torch.device) -> Checkpoint:
    """A checkpoint, whatever learner it belongs to.

    Raises `UserError` for a file that is not a checkpoint or of another version, and `Damaged` for a damaged one.
    """
    content = tensor_file.read(path, device)
    version = content.get("format")
    if type(version) is not int or version != FORMAT:
        raise UserError(f"{path}: not a checkpoint of this version of metarun (format {FORMAT})")
    with _broken(path):
        if set(content) != {"format", "config", "problem", "state"}:
            raise ValueError("format, config, problem and state are expected")
        state = conform(content["state"], State, "state")
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
    """Report what is wrong with the values in a checkpoint as one line."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Damaged(f"{path}: a broken checkpoint ({error})") from error


def _refuse_nonsense(path: Path, state: State) -> None:
    """Values of the right types that no run saves. Raises `UserError`, `KeyError` or `ValueError`."""
    for group in (*state.phi.values(), *state.kept.values()):
        for tensor in group.values():
            if not tensor.is_floating_point():
                raise ValueError("state.phi: floating-point tensors are expected")
            if not tensor.isfinite().all():
                raise UserError(f"{path}: holds parameters that are not finite; nothing can be done with them")
    counts = {"step": state.step, "measured_steps": state.measured_steps}
    if state.best is not None:
        counts["best.step"] = state.best.step
    for name, count in counts.items():
        if count < 0:
            raise ValueError(f"state.{name}: {count} is negative")
    for name, seconds in (("seconds", state.seconds), ("measured_seconds", state.measured_seconds)):
        if not math.isfinite(seconds) or seconds < 0:
            raise ValueError(f"state.{name}: {seconds} is not a time")
    if state.measured_steps and not state.measured_seconds:
        raise ValueError("state.measured_seconds: 0 for a number of steps")
    _refuse_decisions(state.decisions)
    if len({len(row) for row in state.forgetting}) > 1:
        raise ValueError("state.forgetting: rows of different lengths")


def _refuse_decisions(decisions: dict[str, Any]) -> None:
    """Decisions are switches and counts of at least 1; the number of threads is always among them."""
    for name, value in {"threads": decisions["threads"], **decisions}.items():
        wanted = bool if name.startswith("compile") else int
        if type(value) is not wanted or (wanted is int and value < 1):
            raise ValueError(f"state.decisions.{name}: {value!r} is not a decision")


def _refuse_others(path: Path, phi: MetaParameters, like: MetaParameters) -> None:
    """Refuse other names and shapes; take the precision and the memory layout of ``like``."""
    if phi.keys() != like.keys():
        raise ValueError(f"phi: the groups {', '.join(like)} are expected")
    for group in like:
        if phi[group].keys() != like[group].keys():
            name = min(phi[group].keys() ^ like[group].keys())
            hint = "; keep the model.normalization of the run" if name.startswith(STATISTICS) else ""
            raise UserError(
                f"{path}: saved with other parts than these settings make: {group} differs in '{name}'{hint}"
            )
        for name, tensor in like[group].items():
            if phi[group][name].shape != tensor.shape:
                raise UserError(
                    f"{path}: '{name}' of {group} has shape {tuple(phi[group][name].shape)} there, and these settings "
                    f"make {tuple(tensor.shape)}"
                )
            phi[group][name] = torch.empty_like(tensor, device=phi[group][name].device).copy_(phi[group][name])
