"""Additional columns of a configuration: calibration, and the best trivial baseline on the same episodes."""

from typing import NamedTuple

from metarun.report.grouping import Configuration, Group
from metarun.report.text import NOTHING, clean, number

CALIBRATION = "ece"
"""The expected calibration error, by its name in a result."""
NOT_BEATEN = "!"
"""What marks a baseline that the meta-learner does not beat significantly."""
NOTE = f"{NOT_BEATEN}: not significantly better than that baseline"
CSV = ("meta_test_ece", "baseline", "baseline_metric", "meta_test_baseline", "baseline_beaten")
"""The columns of `csv_cells`."""


class Best(NamedTuple):
    """The best baseline of a configuration. beaten: whether all its runs are significantly better."""

    name: str
    metric: str
    mean: float
    beaten: bool


def best(one: Configuration) -> Best | None:
    """The baseline of best mean over the configuration's runs; None where one of these has none."""
    told = [run.baselines() for run in one.runs]
    metrics = {metric for metric, _, _ in told}
    names = set.intersection(*(set(methods) for _, methods, _ in told))
    if len(metrics) > 1 or not names:
        return None
    (metric,) = metrics
    means = {name: sum(methods[name] for _, methods, _ in told) / len(told) for name in sorted(names)}
    higher = metric in one.first.metrics and one.first.higher_is_better(metric)
    name = (max if higher else min)(means, key=means.__getitem__)
    return Best(name, metric, means[name], all(beaten for *_, beaten in told))


def header(group: Group) -> list[str]:
    """The names of the `cells`."""
    found = [told.metric for one in group.configurations if (told := best(one)) is not None]
    return [f"meta-test {CALIBRATION}", " ".join(("best baseline", *found[:1]))]


def cells(group: Group, one: Configuration) -> list[str]:
    """Of a row of the table."""
    calibration = None if CALIBRATION in group.metrics else one.over_seeds("meta_test", CALIBRATION)
    found = best(one)
    if found is None:
        return [number(None if calibration is None else calibration.mean), NOTHING]
    mark = "" if found.beaten else f" {NOT_BEATEN}"
    name = clean(found.name.replace("_", " "))
    return [number(None if calibration is None else calibration.mean), f"{name} {number(found.mean)}{mark}"]


def note(group: Group) -> str:
    """What the marks mean, if there are any; as it continues a line."""
    found = [best(one) for one in group.configurations]
    return f"; {NOTE}" if any(told is not None and not told.beaten for told in found) else ""


def csv_cells(one: Configuration) -> list[object]:
    """Of a row of the CSV file, in full."""
    calibration, found = one.over_seeds("meta_test", CALIBRATION), best(one)
    first = None if calibration is None else calibration.mean
    return [first, *((None,) * 4 if found is None else (found.name, found.metric, found.mean, int(found.beaten)))]
