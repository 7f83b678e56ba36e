"""Training on one group of tasks after another."""

from dataclasses import dataclass

from metarun.datasets.base import Dataset
from metarun.engine.evaluation import Evaluator
from metarun.learner.learner import MetaParameters


@dataclass(frozen=True)
class Sequence:
    """``steps`` meta-updates divided among groups, as evenly as they go; with 0 groups, tasks of all at every step."""

    groups: int
    steps: int

    def group(self, step: int) -> int | None:
        """The group that meta-update ``step`` (from 0) learns; ``None``: any."""
        return step * self.groups // self.steps if self.groups else None

    def within(self, step: int) -> tuple[int, int]:
        """Which meta-update of its group meta-update ``step`` is (from 0), and how many the group has."""
        group = self.group(step)
        if group is None:
            return step, self.steps
        first, behind = (-(-place * self.steps // self.groups) for place in (group, group + 1))
        return step - first, behind - first

    def begins(self, step: int) -> bool:
        """Whether meta-update ``step`` is the first of its group."""
        return bool(self.groups) and (step == 0 or self.group(step) != self.group(step - 1))


def by_group(evaluator: Evaluator, phi: MetaParameters, dataset: Dataset, episodes: int) -> list[float]:
    """The mean metric on each group's tasks: a row of the forgetting matrix.

    On meta-val tasks, where those fall into the groups; else on meta-train tasks in episodes of the test's shape.
    """
    stream = stream_by_group(dataset)
    metric = evaluator.learner.problem.kind.metric
    return [
        evaluator(phi, dataset, stream, episodes, whole_curve=False, group=group).mean(metric)
        for group in range(len(dataset.groups))
    ]


def stream_by_group(dataset: Dataset) -> str:
    """The stream whose tasks of each group measure forgetting."""
    return "val" if dataset.grouped_test else "train_eval"
