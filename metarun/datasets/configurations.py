"""Past tuning as tasks: each task is a data set, whose examples are configurations and their scores on it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metarun.core.counters import key, uniform
from metarun.core.errors import UserError
from metarun.core.fields import number
from metarun.datasets.base import Seeds
from metarun.datasets.score_tables.encoding import encoded
from metarun.datasets.score_tables.reading import read
from metarun.datasets.score_tables.table import ScoreTable
from metarun.datasets.table import TableDataset, standardized
from metarun.datasets.table_columns import TaskRows
from metarun.datasets.table_streams import TableShape


@dataclass(kw_only=True)
class ConfigurationsConfig(TableShape):
    """Keys of ``conf/dataset/configurations.yaml``.

    metric: the score to predict; None: the table's first. configurations: how many to use, drawn at random; None: all.
    test_tasks: names of the meta-test tasks; None: a fraction of all, drawn at random.
    """

    metric: str | None
    configurations: int | None = number(least=2)
    test_tasks: list[str] | None
    train_min_shots: int | None = number(least=1)

    def least_shots(self, stream: str) -> int | None:
        return self.train_min_shots if stream == "train" else None

    def load(self, seed: int, device: torch.device, dtype: torch.dtype, episode_seed: int = 0) -> "Configurations":
        most = self.sizes("train")[0]
        if self.train_min_shots is not None and most is not None and self.train_min_shots > most:
            raise UserError(
                f"dataset.train_min_shots={self.train_min_shots}: more than the {most} shots of meta-training"
            )
        if self.test_tasks is not None and self.split != "tasks":
            raise UserError("dataset.test_tasks: only with dataset.split=tasks, which separates tasks")
        scores = read(self.path)
        if self.configurations is not None:
            scores = scores.part(_drawn(scores, self.configurations))
        return Configurations(scores, self, Seeds(seed, episode_seed), device, dtype)


class Configurations(TableDataset):
    """Configurations of a `ScoreTable` as examples: x is the encoded configuration, y its standardized score.

    Evaluations that failed are no examples. Tasks of one group are in the same split. A task's descriptor are its
    meta-features, standardized over the meta-train tasks.

    scores: the table. metric: the one that is predicted. encoding: float64 ``[configurations, features]``, the inputs.
    """

    def __init__(
        self, scores: ScoreTable, config: ConfigurationsConfig, seeds: Seeds, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.scores, self.metric = scores, scores.metric(config.metric)
        self.encoding, names = encoded(scores.space, scores.configurations)
        values = scores.scores[self.metric]
        task, configuration = np.nonzero(~np.isnan(values))
        if (missing := np.setdiff1d(np.arange(len(scores.tasks)), task)).size:
            raise UserError(f"{scores.source}: task {scores.tasks[missing[0]]!r} has no score in {self.metric}")
        rows = TaskRows(
            scores.source,
            task,
            scores.tasks,
            self.encoding[configuration],
            tuple(names),
            values[task, configuration],
            None,
            groups=scores.groups,
            descriptors=scores.features,
            scaled=True,
        )
        super().__init__("configurations", rows, config, seeds, device, dtype, config.test_tasks)

    @property
    def sides(self) -> str:
        """What the splits divide: ``tasks`` or ``rows``."""
        return self._shape.split

    @property
    def sign(self) -> int:
        """1 where the metric is to be minimized, -1 where it is to be maximized."""
        return 1 if self.scores.directions[self.metric] == "minimize" else -1

    @property
    def losses(self) -> NDArray[np.float64]:
        """The metric with the sign that makes lower better, ``[tasks, configurations]``, NaN where there is none."""
        return self.sign * self.scores.scores[self.metric]

    def described(self, features: NDArray[np.float64]) -> Tensor:
        """The descriptor of a task with these meta-features ``[m]``, float64 on CPU."""
        known = self.scores.features[self.members("train")]
        everything = standardized(np.vstack([known, features]), np.arange(len(known) + 1) < len(known))
        return torch.from_numpy(everything[-1])

    def protocol(self) -> dict[str, Any]:
        told = super().protocol()
        del told["standardized"]
        groups = {split: len(np.unique(self.scores.groups[self.members(split)])) for split in told["tasks"]}
        least = self._shape.least_shots("train")
        return {
            **told,
            **{"train_min_shots": least, "metric": self.metric, "direction": self.scores.directions[self.metric]},
            **{"configurations": len(self.scores.identifiers), "groups": groups},
            "standardized": "scores by mean and standard deviation of the meta-train tasks",
        }


def _drawn(scores: ScoreTable, count: int) -> NDArray[np.int64]:
    """Numbers of ``count`` configurations in the table's order: the same for every run."""
    many = len(scores.identifiers)
    if count > many:
        raise UserError(f"dataset.configurations={count}: {scores.source} has {many}")
    order = uniform(torch.tensor(key(0, "dataset", "configurations")), many).argsort()
    return np.sort(order[:count].numpy())
