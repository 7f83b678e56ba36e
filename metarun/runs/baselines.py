"""Comparison with trivial baselines on the meta-test episodes."""

from collections.abc import Mapping
from math import isfinite, nan
from typing import Any

from metarun.core.intervals import paired_difference
from metarun.core.kinds import TaskKind
from metarun.engine.evaluation import EvaluationResult, half_width
from metarun.runs.numbers import decimal

SIGNIFICANT = 0.05
"""The p-value of the paired test below which a difference is significant."""


def compared(kind: TaskKind, test: EvaluationResult) -> dict[str, Any]:
    """The ``baselines`` of a result.

    ``methods`` has each baseline's mean with the half-width of its interval, ``best`` names the one of best mean. The
    ``advantage`` of the meta-learner over it is positive where the meta-learner is better, paired by episode and
    clustered by task; ``beaten`` says whether it is significant (p < 0.05).
    """
    metric = kind.baseline_metric
    sign = 1 if kind.directions[metric] else -1
    methods = {
        name: {"mean": values.mean().item(), "ci95": half_width(values, test.tasks)}
        for name, values in test.baselines.items()
    }
    ranked = [name for name in methods if isfinite(methods[name]["mean"])] or list(methods)
    best = max(ranked, key=lambda name: sign * methods[name]["mean"])
    learner, other = (sign * values for values in (test.final(metric), test.baselines[best]))
    found = paired_difference(learner.tolist(), other.tolist(), test.tasks)
    half = found.difference.half
    return {
        "metric": metric,
        "methods": methods,
        "best": best,
        "advantage": {"mean": found.difference.mean, "ci95": nan if half is None else half, "p": found.p},
        "beaten": found.p is not None and found.p < SIGNIFICANT and found.difference.mean > 0,
    }


def line(found: Mapping[str, Any]) -> str:
    """All baselines in one line, the best first."""
    methods = found["methods"]
    names = sorted(methods, key=lambda name: name != found["best"])
    figures = (f"{spoken(name)} {decimal(methods[name]['mean'])}{_margin(methods[name]['ci95'])}" for name in names)
    return f"{'   '.join(figures)}   ({found['metric']} on the same episodes)"


def warning(content: Mapping[str, Any]) -> str | None:
    """A line if, by a result's content, the meta-learner does not beat the best baseline significantly."""
    found = content["baselines"]
    if found["beaten"]:
        return None
    best, p = found["best"], found["advantage"]["p"]
    reached = content["meta_test"]["metrics"][found["metric"]]["mean"]
    tested = "no test"
    if p is not None:
        difference = "significantly worse" if p < SIGNIFICANT else "no significant difference"
        tested = f"{difference}, paired t-test: {'p < 0.001' if p < 0.001 else f'p = {p:.3f}'}"
    return (
        f"the meta-learner does not beat the baseline {spoken(best)}: {found['metric']} "
        f"{decimal(reached)} against {decimal(found['methods'][best]['mean'])} on the same episodes ({tested})"
    )


def scalars(found: Mapping[str, Any], data: str = "") -> dict[str, float]:
    """For TensorBoard, by tag. data: the name of the further data set that they are of."""
    stage = f"meta-test {data}".rstrip()
    methods = found["methods"].items()
    return {f"baselines/{spoken(name)} {found['metric']} {stage}": told["mean"] for name, told in methods}


def spoken(name: str) -> str:
    return name.replace("_", " ")


def _margin(half: float) -> str:
    return f" ± {decimal(half)}" if isfinite(half) else ""
