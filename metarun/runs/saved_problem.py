"""A problem as a checkpoint holds it: in builtin types, so that a learner can be built again without its dataset."""

from typing import Any

from metarun.core.errors import UserError
from metarun.core.inputs import Input, InputSpec
from metarun.core.kinds import KINDS, TaskKind
from metarun.datasets.base import Problem
from metarun.engine.schema import conform

_COUNTS = ("known_tasks", "descriptor_size", "training_classes")


def to_plain(problem: Problem) -> dict[str, Any]:
    """The problem's fields; kinds with their name. Raises `UserError` for a kind of task that is not metarun's own."""
    kinds = {name: _kind_to_plain(getattr(problem, name)) for name in ("kind", "training_kind")}
    return {**vars(problem), "inputs": _inputs_to_plain(problem.inputs), "source": dict(problem.source), **kinds}


def from_plain(plain: dict[str, Any]) -> Problem:
    """The problem that `to_plain` told. Raises `ValueError`, `TypeError` or `KeyError` for what is none."""
    conform(plain, dict[str, Any], "problem")
    kinds = {name: _kind(conform(plain[name], dict[str, Any], f"problem.{name}")) for name in ("kind", "training_kind")}
    problem = Problem(**{**plain, "inputs": _inputs(plain["inputs"]), **kinds})
    if not isinstance(problem.name, str):
        raise ValueError("problem")
    if not all(_counts(plain[name], 0) for name in _COUNTS) or not isinstance(plain["source"], dict):
        raise ValueError("problem")
    return problem


def _inputs_to_plain(inputs: InputSpec) -> dict[str, Any]:
    return {name: {"shape": list(part.shape), "optional": part.optional} for name, part in inputs.parts}


def _inputs(plain: Any) -> InputSpec:
    parts = conform(plain, dict[str, dict[str, Any]], "problem.inputs")
    if not parts or ("" in parts and len(parts) > 1):
        raise ValueError("problem.inputs")
    made = {}
    for name, part in parts.items():
        shape = conform(part["shape"], list[int], "problem.inputs.shape")
        if not all(_counts(size, 1) for size in shape):
            raise ValueError("problem.inputs")
        made[name] = Input(tuple(shape), conform(part["optional"], bool, "problem.inputs.optional"))
    return InputSpec(tuple(sorted(made.items())))


def _kind_to_plain(kind: TaskKind) -> dict[str, Any]:
    if KINDS.get(kind.name) is not type(kind):
        raise UserError(
            f"dataset: its tasks are of kind {type(kind).__name__}, which no checkpoint can hold; use one of "
            f"metarun.core.kinds: {', '.join(made.__name__ for made in KINDS.values())}"
        )
    return {"name": kind.name, **vars(kind)}


def _kind(plain: dict[str, Any]) -> TaskKind:
    made = KINDS[conform(plain["name"], str, "problem.kind.name")]
    fields = {name: value for name, value in plain.items() if name != "name"}
    kind: TaskKind = conform(fields, made, "problem.kind")
    if not _counts(kind.outputs, 1):
        raise ValueError("problem")
    return kind


def _counts(value: Any, least: int) -> bool:
    return type(value) is int and value >= least
