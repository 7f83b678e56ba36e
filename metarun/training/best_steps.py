"""The number of inner steps of the test, selected on meta-val (``algorithm.test_steps=best``)."""

from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from metarun.algorithms.base import Algorithm
from metarun.core.kinds import TaskKind
from metarun.engine.evaluation import EvaluationResult


@dataclass(frozen=True)
class BestSteps:
    """chosen: the number of steps. metric: what it was chosen by. curve: mean of the metric over meta-val episodes,
    before the first step and after each of those tried.
    """

    chosen: int
    metric: str
    curve: list[float]

    def told(self) -> dict[str, Any]:
        """For ``result.json``."""
        return {"chosen": self.chosen, "tried": len(self.curve) - 1, "metric": self.metric, "meta_val": self.curve}


def best_steps(episodes: EvaluationResult, kind: TaskKind) -> BestSteps:
    """The step after which the mean over meta-val episodes is best; of equals the first, and none that is not finite
    where another is.
    """
    curve = episodes.curves[kind.metric].mean(0).tolist()
    sign = 1 if kind.higher_is_better else -1

    def rank(step: int) -> tuple[bool, float]:
        return isfinite(curve[step]), sign * curve[step] if isfinite(curve[step]) else 0.0

    return BestSteps(max(range(len(curve)), key=rank), kind.metric, curve)


def with_test_steps(algorithm: Algorithm, steps: int) -> Algorithm:
    """The algorithm with ``steps`` inner steps at test."""
    changed: Algorithm = replace(algorithm, test_steps=steps)  # type: ignore[call-arg]
    return changed
