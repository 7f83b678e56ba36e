"""State that a meta-learner keeps over tasks, other than by gradients: the group `MEMORY` of φ.

Running statistics of normalization layers are one such thing, moments of an inner optimizer that outlive a task
another. Each task of a meta-batch reports what an entry would become after that task alone. After the meta-update the
entry is the mean of these reports over the meta-batch, with the weights that the tasks have in the loss: chunks,
processes and the order of tasks do not matter.
"""

from dataclasses import dataclass, field

from torch import Tensor

MEMORY = "memory"
"""The group of φ that no gradient moves."""


@dataclass(frozen=True)
class Memory:
    """What is remembered, as one task meets it; an object that learns serves one task, once.

    held: the entries by name, constants to every derivative. learning: whether the task is one of meta-training, whose
    reports count.
    """

    held: dict[str, Tensor] = field(default_factory=dict)
    learning: bool = False
    _reported: dict[str, Tensor] = field(default_factory=dict)

    def now(self, name: str) -> Tensor:
        """The entry as the task has left it so far."""
        return self._reported.get(name, self.held[name])

    def report(self, name: str, value: Tensor) -> None:
        """What the entry would become after this task: a tensor of its shape. Does nothing unless ``learning``.

        To be called outside of any function that is being differentiated (`torch.func.grad`) within the task.
        """
        if self.learning:
            self._reported[name] = value.detach()

    def after(self) -> dict[str, Tensor]:
        """Every entry after this task; one that was not reported is what it was."""
        return {name: self.now(name) for name in self.held}
