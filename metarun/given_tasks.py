"""A user's own examples and tasks, as batches of tasks that a trained learner takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from metarun.core.arrays import floating
from metarun.core.errors import UserError
from metarun.core.labeled import examples
from metarun.core.tasks import Examples, Task, TaskBatch, batch
from metarun.datasets.base import Problem

Pair = tuple[Any, Any]
"""A user's own examples: x, n inputs, and y, class numbers ``[n]`` or targets ``[n, dimensions]``. NumPy
arrays, tensors or lists; what is of one number each may be ``[n]``."""


@dataclass(frozen=True)
class GivenTasks:
    """Takes tasks for a learner of ``problem`` that computes in ``dtype`` on ``device``. Everything raises `UserError`.

    knows_tasks: whether the learner keeps something of single training tasks.
    """

    problem: Problem
    knows_tasks: bool
    dtype: torch.dtype
    device: torch.device

    def examples(self, pair: Any, names: tuple[str, str]) -> Examples:
        """A `Pair`; ``names``: what its two parts are called."""
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise UserError(f"give {names[0]} and {names[1]}, a pair of arrays")
        x, y = pair
        return examples(x, y, names, self.problem.inputs, self.problem.kind, self.dtype, self.device)

    def task(self, support: Examples, query: Examples, descriptor: Any, identity: int | None) -> TaskBatch:
        """A batch of one task made of a user's examples. Without a descriptor it has NaN for one."""
        number = torch.zeros(1, dtype=torch.int64, device=self.device)
        return batch(
            alone(support),
            alone(query),
            number,
            number + self._identified(identity),
            self._described(descriptor),
        )

    def taken(self, tasks: TaskBatch) -> TaskBatch:
        """Tasks of a dataset, in the learner's precision and on its device."""
        inputs = self.problem.inputs
        for name in ("support", "query"):
            part = getattr(tasks, name)
            if not inputs.fits(part.x, axes=2):
                shapes = tree_map(lambda tensor: tuple(tensor.shape[2:]), part.x)
                raise UserError(f"the task's {name} inputs have shape {shapes}, and this run's {inputs.shape}")
            self._refuse_labels(part.y, name)
        if tasks.descriptor.shape[1] != self.problem.descriptor_size:
            raise UserError(
                f"the task has a descriptor of {tasks.descriptor.shape[1]} numbers, and this run's tasks have "
                f"{self.problem.descriptor_size}"
            )
        moved: TaskBatch = tree_map(
            lambda tensor: tensor.to(self.device, self.dtype if tensor.is_floating_point() else None), tasks
        )
        return moved

    def _described(self, descriptor: Any) -> Tensor:
        """A descriptor as ``[1, features]``; where none is given, NaN, so that whatever is made of it shows."""
        size = self.problem.descriptor_size
        if descriptor is None:
            return torch.full((1, size), torch.nan, dtype=self.dtype, device=self.device)
        if not size:
            raise UserError("descriptor: the dataset of this run describes no tasks; leave it out")
        return floating([descriptor], "descriptor", (size,), self.dtype, self.device)

    def _identified(self, identity: Any) -> int:
        if identity is None:
            return -1
        known = self.problem.known_tasks
        if not self.knows_tasks:
            raise UserError(f"identity={identity}: this run keeps nothing of single training tasks; leave it out")
        if type(identity) is not int or not 0 <= identity < known:
            raise UserError(f"identity={identity}: there are {known} known tasks, 0 to {known - 1}")
        return identity

    def _refuse_labels(self, y: Tensor, name: str) -> None:
        """Refuse labels ``[T, n, ...]`` that are not of the problem's kind."""
        kind = self.problem.kind
        if not kind.fits(y):
            raise UserError(f"the task's {name} labels are not {kind.expected}, which this run's tasks have")


def alone(examples: Examples) -> Examples:
    """The examples of one task as those of a batch."""
    batched: Examples = tree_map(lambda tensor: tensor[None], examples)
    return batched


def refuse_both(**others: Any) -> None:
    """Refuse what was given beside a task that has it already."""
    given = [name for name, value in others.items() if value is not None]
    if given:
        raise UserError(f"{given[0]} does not go with a task, which has its own")


def in_batches(tasks: Any) -> list[TaskBatch]:
    """A task, a batch of them or a list of them, as batches: one where their shapes are alike."""
    if isinstance(tasks, Task):
        return [batched([tasks])] if not tasks.number.dim() else [tasks]
    if not isinstance(tasks, Sequence) or not tasks or not all(isinstance(task, Task) for task in tasks):
        raise UserError("evaluate: give a task, or a list of at least one; for arrays, support=(x, y) and query=(x, y)")
    if len({_shapes(task) for task in tasks}) > 1:
        return [batched([task]) for task in tasks]
    return [batched(tasks)]


def batched(tasks: Sequence[Task]) -> TaskBatch:
    """Single tasks of one shape as a batch."""
    if any(task.number.dim() for task in tasks):
        raise UserError("this is a batch of tasks, where a single one is expected")
    stacked: TaskBatch = tree_map(lambda *tensors: torch.stack(tensors), *tasks)
    return stacked


def _shapes(task: Task) -> tuple[Any, ...]:
    return tuple(type(part) for part in task[:2]) + tuple(
        tuple(tensor.shape) for tensor in (*task.support, *task.query, *task[2:])
    )
