"""Outcomes of a sweep's jobs, read from their folders: the same for every launcher, local or remote."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metarun.sweep import folder as folders
from metarun.sweep.search import JobOutcome


def outcome(place: Path, objective: str | None) -> JobOutcome:
    """Of the job in a folder; its value is the meta-val figure of ``objective``, ``None``: of the run's own metric."""
    told = folders.state(place)
    if told["status"] != "done":
        return JobOutcome(str(told["status"]), str(told.get("reason") or ""), mistake="bug" not in told)
    content = folders.result(place)
    metric = objective or str(content.get("metric"))
    figure = _mapping(_mapping(_mapping(content.get("meta_val")).get("metrics")).get(metric))
    better = _mapping(content.get("higher_is_better")).get(metric)
    return JobOutcome("done", "", figure.get("mean"), figure.get("ci95"), metric, better)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
