"""Run folders: finding them below a path, and reading what a run left, whatever state it is in."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from metarun.config.groups import PARTS, TESTS, option_of_test
from metarun.core.errors import UserError
from metarun.core.intervals import Estimate
from metarun.core.names import FOLLOWED
from metarun.core.naming import trained_on
from metarun.report.text import clean
from metarun.runs.files import CHECKPOINTS, CONFIG, LOG, RESULT, STATUS, TEST_DATASETS, saved

CONFIG, STATUS, RESULT, LOG = CONFIG, STATUS, RESULT, LOG
DONE = "done"
STATES = (DONE, "running", "failed", "interrupted")
LARGEST = 2**24
"""Maximum size in bytes of a file of a run."""

HUGE = 1e100
"""From where on a number's square may be no number."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same as ``yaml.safe_load``, ten times as fast where PyYAML has libyaml."""

STAGES = ("meta_test", "meta_val")
_OF_OWN_DATA = ("meta_val", "meta_train", "gap", "forgetting")
"""Figures of a result that are of the run's own data."""
_OF_TEST = ("meta_test", "baselines", "protocol")
"""What a block of a further data set has in place of the result's own."""

TRAINED_ON = "trained on"
"""The key that names the training data set of a run, where that is not the one it was tested on."""


class Unreadable(Exception):
    """A folder looks like a run's and cannot be read as one; the message says why."""


@dataclass(frozen=True)
class Run:
    """One run, as read from its folder."""

    folder: Path
    settings: Mapping[str, Any]
    """Every key by its full name (``algorithm.outer.lr``), every group's option by the group's (``algorithm``), and
    `TRAINED_ON`."""
    status: str
    reason: str
    """Why it failed or stopped, one line; empty where nothing is said."""
    time: str
    """When the status was written, as ISO 8601; empty where it is not said."""
    result: Mapping[str, Any]
    """The content of ``result.json``; empty unless the run is done."""
    followed: frozenset[str] = frozenset()
    """The keys whose value followed from the other parts (``auto``)."""
    further: str = ""
    """The name of the further data set that settings and result are of (`on_further_data`); else empty."""

    @property
    def seed(self) -> Any:
        return self.settings.get("seed")

    @property
    def split_seed(self) -> Any:
        """The seed that decides the split; ``None`` where the split is fixed, so that all seeds are tested alike."""
        return self.result.get("protocol", {}).get("split_seed")

    @property
    def metric(self) -> str:
        """The metric that names a finished run's success."""
        return str(self.result["metric"])

    @cached_property
    def metrics(self) -> list[str]:
        """Names of all metrics at meta-test, the run's own first."""
        test = self.result["meta_test"]
        names = [self.metric, *test["metrics"], *test.get("pooled", {})]
        return list(dict.fromkeys(map(str, names)))

    def higher_is_better(self, metric: str) -> bool:
        """Whether more is better of one of the `metrics`. Raises `UserError` where neither more nor less is."""
        higher = self.result["higher_is_better"][metric]
        if higher is None:
            raise UserError(f"--metric {metric}: neither more nor less of it is better; choose another to compare by")
        return bool(higher)

    def figure(self, stage: str, metric: str) -> Estimate | None:
        """A metric at ``meta_test`` or ``meta_val`` with its interval over episodes; None where it is not finite."""
        block = self.result.get(stage, {})
        told = block.get("metrics", {}).get(metric, {"mean": block.get("pooled", {}).get(metric)})
        mean = _number(told.get("mean"))
        return None if mean is None else Estimate(mean, _number(told.get("ci95")))

    def adaptation(self, metric: str) -> list[Estimate | None]:
        """A metric at meta-test before the first inner step and after each."""
        told = self.result["meta_test"].get("adaptation", {}).get(metric, {})
        means, halves = told.get("mean", []), told.get("ci95", [])
        points = zip(map(_number, means), map(_number, halves), strict=False)
        return [None if mean is None else Estimate(mean, half) for mean, half in points]

    def count(self, stage: str, metric: str, what: str) -> int | None:
        """How many ``episodes``, distinct ``tasks`` or ``classes`` a figure is of."""
        found = self.result.get(stage, {}).get("metrics", {}).get(metric, {}).get(what)
        return found if isinstance(found, int) else None

    def parameters(self, name: str) -> int | None:
        """How many parameters there are of the task model (``theta``), meta-learned (``phi``), or of a group of φ."""
        found = self.result.get("parameters")
        size = found.get(name) if isinstance(found, dict) else None
        return size if isinstance(size, int) else None

    def baselines(self) -> tuple[str, dict[str, float], bool]:
        """The metric of the trivial baselines, the finite means of these, and whether the best of them is beaten."""
        told = self.result.get("baselines")
        found = told if isinstance(told, dict) else {}
        methods = found.get("methods")
        each = methods.items() if isinstance(methods, dict) else ()
        means = {str(name): _number(figure.get("mean")) for name, figure in each if isinstance(figure, dict)}
        known = {name: mean for name, mean in means.items() if mean is not None}
        return clean(found.get("metric", "")), known, found.get("beaten") is True

    def training(self, name: str) -> float | None:
        """A number of the meta-training, such as ``seconds`` and ``tasks_per_second``."""
        return _number(self.result.get("train", {}).get(name))

    def last_sign(self) -> datetime | None:
        """When the run last wrote to its log, its events or its checkpoints."""
        files = [self.folder / LOG, *self.folder.glob("events.out.tfevents.*"), *self.folder.glob(f"{CHECKPOINTS}/*")]
        times = [file.stat().st_mtime for file in files if file.is_file()]
        return datetime.fromtimestamp(max(times), UTC) if times else None

    def can_resume(self) -> bool:
        return bool(saved(self.folder))


def on_further_data(run: Run) -> list[Run]:
    """A finished run once for each further data set that it was tested on, as if tested on that alone.

    These are compared with other runs tested on the same data. There is no meta-val of them.
    """
    found = []
    for name, block in run.result.get(TEST_DATASETS, {}).items():
        place = f"{TESTS}.{name}"
        rest = {key: value for key, value in run.settings.items() if key.partition(".")[0] not in ("dataset", TESTS)}
        dataset = {"dataset": run.settings.get(place)}
        for key, value in run.settings.items():
            if key.startswith(f"{place}."):
                dataset[f"dataset.{key.removeprefix(f'{place}.')}"] = value
        kept = {key: value for key, value in run.result.items() if key not in (*_OF_OWN_DATA, TEST_DATASETS)}
        train = {**run.result["train"], "same_source": block["same_source"]}
        result = {**kept, **{key: block[key] for key in _OF_TEST if key in block}, "train": train}
        rest.pop(TRAINED_ON, None)
        found.append(replace(run, settings={**dataset, **rest, **_trained_on(result)}, result=result, further=name))
    return found


def folders(path: Path) -> Iterator[Path]:
    """``path`` and all folders below it, in order of name; without hidden ones, and links are not followed."""
    for place, below, _ in os.walk(path):
        below[:] = sorted(name for name in below if not name.startswith(".") and name != CHECKPOINTS)
        yield Path(place)


def read(folder: Path) -> Run | None:
    """The run in a folder; None where the folder is no run's.

    Raises `Unreadable`.
    """
    names = {entry.name for entry in os.scandir(folder)}
    if not names:
        raise Unreadable("empty")
    if STATUS not in names:
        if RESULT in names or CHECKPOINTS in names or names == {LOG}:
            raise Unreadable(f"a run that has no {STATUS}: it ended before it began, or files were taken away")
        if CONFIG in names:
            raise Unreadable(f"not a run of metarun, or one that ended as it began: it has {CONFIG}, but no {STATUS}")
        return None
    status = _json(folder / STATUS)
    state = status.get("status")
    if state not in STATES:
        raise Unreadable(f"{STATUS} says no state ({', '.join(STATES)})")
    # A job that fails before its parts stand leaves a reason and no settings.
    config = _yaml(folder / CONFIG) if CONFIG in names or state != "failed" else {}
    settings = flat(config) if config != {} else {}
    result = _json(folder / RESULT) if state == DONE else {}
    if state == DONE:
        _check(result)
        _check_further(result)
        settings |= _trained_on(result)
    reason, time = (clean(status.get(name) or "") for name in ("reason", "time"))
    return Run(folder, settings, state, reason, time, result, _followed(config))


def flat(config: Any) -> dict[str, Any]:
    """A saved configuration with one entry for each key and one for each group's option. Raises `Unreadable`."""
    choices = config.get("choices") if isinstance(config, dict) else None
    if not isinstance(choices, dict) or not isinstance(config.get("dataset"), dict):
        raise Unreadable(f"{CONFIG} is not the configuration of a metarun run")
    found: dict[str, Any] = {name: choices[name] for name in PARTS if name in choices}
    tests = config.get(TESTS)
    for name in tests if isinstance(tests, dict) else ():
        found[f"{TESTS}.{clean(name)}"] = option_of_test(choices, name)

    def add(prefix: str, node: dict[Any, Any]) -> None:
        for key, value in node.items():
            name = f"{prefix}{clean(key)}"
            if isinstance(value, dict) and value:
                add(f"{name}.", value)
            else:
                found[name] = value

    add("", {key: value for key, value in config.items() if key not in ("choices", FOLLOWED)})
    return found


def _followed(config: Any) -> frozenset[str]:
    told = config.get(FOLLOWED) if isinstance(config, dict) else None
    return frozenset(map(clean, told)) if isinstance(told, dict) else frozenset()


def _check(result: Mapping[str, Any]) -> None:
    """Refuse a result without the figures that every row needs."""
    metric = result.get("metric")
    for stage in STAGES:
        _check_block(stage, result.get(stage))
    for name in ("train", "protocol"):
        if not isinstance(result.get(name, {}), dict):
            raise Unreadable(f"{RESULT}: its {name} is not what metarun writes")
    test = result["meta_test"]
    if not isinstance(metric, str) or metric not in test["metrics"]:
        raise Unreadable(f"{RESULT} does not say its metric")
    directions = result.get("higher_is_better")
    for name in (*test["metrics"], *test.get("pooled", {})):
        if not isinstance(directions, dict) or not _is_direction(directions.get(name, ""), name == metric):
            raise Unreadable(f"{RESULT} does not say whether higher is better of {clean(name)}")


def _check_further(result: Mapping[str, Any]) -> None:
    """Refuse invalid blocks of further data sets."""
    blocks = result.get(TEST_DATASETS, {})
    if not isinstance(blocks, dict):
        raise Unreadable(f"{RESULT}: its {TEST_DATASETS} is not what metarun writes")
    for name, block in blocks.items():
        where = f"{TEST_DATASETS}.{clean(name)}"
        if not isinstance(block, dict) or not isinstance(block.get("same_source"), bool):
            raise Unreadable(f"{RESULT}: its {where} is not what metarun writes")
        if not isinstance(block.get("protocol", {}), dict):
            raise Unreadable(f"{RESULT}: the protocol of {where} is not what metarun writes")
        _check_block(where, block.get("meta_test"))
        metrics = block["meta_test"]["metrics"], block["meta_test"].get("pooled", {})
        for metric in (result["metric"], *(name for part in metrics for name in part)):
            if metric not in result["higher_is_better"] or (metric == result["metric"] and metric not in metrics[0]):
                raise Unreadable(f"{RESULT}: {where} has other metrics than the run")


def _is_direction(value: Any, ranks: bool) -> bool:
    """Whether it says if higher is better; only of a metric that ranks no runs may it be ``None``, neither."""
    return isinstance(value, bool) or (value is None and not ranks)


def _check_block(stage: str, block: Any) -> None:
    """Refuse what is no block of figures (`metarun.training.results.measured`)."""
    if not isinstance(block, dict):
        raise Unreadable(f"{RESULT} has no figures of {stage}")
    figures = block.get("metrics")
    if not isinstance(figures, dict) or not isinstance(block.get("dataset"), str):
        raise Unreadable(
            f"{RESULT}: {stage} does not name its dataset and metrics; if an older version wrote it, test again with "
            "mode=test checkpoint=RUN"
        )
    if not all(isinstance(told, dict) for told in figures.values()):
        raise Unreadable(f"{RESULT} has no figures of {stage}")
    if not isinstance(block.get("pooled", {}), dict) or not isinstance(block.get("adaptation", {}), dict):
        raise Unreadable(f"{RESULT}: its {stage} is not what metarun writes")
    curves = block.get("adaptation", {}).values()
    if not all(isinstance(curve, dict) and all(isinstance(part, list) for part in curve.values()) for curve in curves):
        raise Unreadable(f"{RESULT}: its adaptation is not what metarun writes")


def _trained_on(result: Mapping[str, Any]) -> dict[str, str]:
    """`TRAINED_ON` for a model that was trained on other data than it was tested on."""
    try:
        name = trained_on(result)
    except KeyError as error:
        raise Unreadable(f"{RESULT}: its train does not name {error}") from error
    return {} if name is None else {TRAINED_ON: clean(name)}


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(file))
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{file.name} is broken: {clean(error)}") from error
    if not isinstance(value, dict):
        raise Unreadable(f"{file.name} is not what metarun writes")
    return value


def _yaml(file: Path) -> Any:
    try:
        return yaml.load(_text(file), Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Unreadable(f"{file.name} is broken: {clean(error)}") from error


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > LARGEST:
            raise Unreadable(f"{file.name} is too large to be a run's")
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise Unreadable(f"it has no {file.name}") from error
    except UnicodeDecodeError as error:
        raise Unreadable(f"{file.name} is broken: not text") from error
    except OSError as error:
        raise Unreadable(f"{file.name} cannot be read: {error.strerror or error}") from error


def _number(value: Any) -> float | None:
    """A finite number, else None (NaN and ∞ are null in JSON); what diverged beyond all bounds counts as infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < HUGE:
        return None
    return float(value)
