"""Charts of TensorBoard's custom scalars page, and the tags that they are made of."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from metarun.engine.evaluation import EvaluationResult

BOUNDS = "interval"
"""The group of tags that hold the bounds of meta-val's 95 % interval."""
OUTER, BEFORE, AFTER = "outer-gradient", "inner-gradient-before", "inner-gradient-after"
"""Groups of tags: norms of gradients, layer by layer."""
STEP_SIZE = "step-size"
"""The group of tags that hold the mean step size of each layer."""


def bounds(episodes: EvaluationResult) -> dict[str, float]:
    """The bounds of the 95 % interval of each metric's mean, by tag."""
    found: dict[str, float] = {}
    for metric in episodes.curves:
        mean, half = episodes.mean(metric), episodes.half_width(metric)
        found |= {_bound(metric, "lower"): mean - half, _bound(metric, "upper"): mean + half}
    return found


def charts(metrics: Iterable[str], *, gradients: bool, step_sizes: bool) -> Mapping[str, Mapping[str, list[Any]]]:
    """Charts by heading and title: a kind, and tags, which lines are given as patterns."""
    names = list(metrics)
    found: dict[str, dict[str, list[Any]]] = {
        "meta-train and meta-val": {
            name: ["Multiline", [_exactly(f"meta-train/{name}"), _exactly(f"meta-val/{name}")]] for name in names
        },
        "meta-val with its 95 % interval": {
            name: ["Margin", [f"meta-val/{name}", _bound(name, "lower"), _bound(name, "upper")]] for name in names
        },
    }
    if gradients:
        found["norms of gradients by layer"] = {
            "outer": ["Multiline", [f"^{OUTER}/"]],
            "inner, before adaptation": ["Multiline", [f"^{BEFORE}/"]],
            "inner, after adaptation": ["Multiline", [f"^{AFTER}/"]],
        }
    if step_sizes:
        found["learned step sizes"] = {"mean by layer": ["Multiline", [f"^{STEP_SIZE}/"]]}
    return found


def _bound(metric: str, which: str) -> str:
    return f"{BOUNDS}/meta-val {metric} {which}"


def _exactly(tag: str) -> str:
    return f"^{re.escape(tag)}$"
