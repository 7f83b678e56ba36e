"""Messages of a run at its start and at its end."""

import logging
from collections.abc import Mapping, Sequence
from math import isfinite, nan
from pathlib import Path
from typing import Any

import torch

from metarun.algorithms.base import Algorithm
from metarun.config.groups import TESTS
from metarun.config.quoting import command_line, path_argument, path_setting, to_paste
from metarun.core.naming import trained_on
from metarun.datasets.base import Dataset
from metarun.engine.divergence import inner_keys
from metarun.learner.learner import Learner, MetaParameters
from metarun.models.base import Parameters, count
from metarun.runs.baselines import SIGNIFICANT, line, warning
from metarun.runs.files import TEST_DATASETS
from metarun.runs.numbers import decimal
from metarun.setup.settings import Settings

log = logging.getLogger(__name__)


def introduce(
    settings: Settings,
    folder: Path,
    datasets: Sequence[Dataset],
    learner: Learner,
    phi: MetaParameters,
    device: torch.device,
    processes: int,
) -> None:
    """What runs, on what, in how many processes, and where it is kept. datasets: the run's own first."""
    choices = settings.plain["choices"]
    for dataset in datasets:
        log.info(f"{'' if dataset is datasets[0] else 'tested on '}{dataset.summary()}")
    parts = " · ".join((_model(choices, learner), _hypernet(choices, settings, learner, phi), choices["algorithm"]))
    log.info(parts)
    several = f"{processes} processes, each on " if processes > 1 else ""
    how = f"{several}{_device(device)}, {settings.device.precision}, {settings.engine.mode}"
    log.info(f"{how} · run folder {relative_to_cwd(folder)}")
    if advice := settings.device.advice(device):
        log.warning(advice)


def conclude(settings: Settings, folder: Path, content: Mapping[str, Any]) -> None:
    """The result, the protocol it was got by, and what to type next."""
    metric = content["metric"]
    step = content["train"]["tested_step"]
    best = settings.trains and settings.engine.order != "sequential"
    which = f"best checkpoint (step {step:,})" if best else f"checkpoint of step {step:,}"
    if best and not isfinite(content["meta_val"]["metrics"][metric]["mean"]):
        which = f"last checkpoint (step {step:,}; no validation was finite)"
    if (other := trained_on(content)) is not None:
        which += f" trained on {other}"
    _tested(settings, content, metric, f"{which}, {settings.engine.mode}")
    for name, block in content.get(TEST_DATASETS, {}).items():
        _tested(settings, block, metric, f"{TESTS}.{name}")
    log.info(f"look        {to_paste('tensorboard', '--logdir', path_argument(relative_to_cwd(folder)))}")
    if settings.trains:
        command = command_line(settings.plain, "mode=test", path_setting("checkpoint", relative_to_cwd(folder)))
        log.info(f"again       {command}")


def _tested(settings: Settings, content: Mapping[str, Any], metric: str, how: str) -> None:
    """The figures of one meta-test, and the baselines: of a result, or of its block of a further data set."""
    test = content["meta_test"]
    after = test["metrics"][metric]
    beside = {name: amount(value) for name, value in test["metrics"].items() if name != metric}
    pooled = dict(test.get("pooled", {}))
    if "ece" in pooled:
        beside["ece"] = decimal(pooled.pop("ece"))  # next to the accuracy that it judges
    others = "   ".join(f"{name} {value}" for name, value in beside.items())
    log.info(f"meta-test   {episodes(after)} of {test['dataset']}, {how}")
    log.info(f"            {metric} {amount(after)}{margin(after)}   {others}")
    if "not_finite" in after:
        log.warning(f"            {metric} is not finite in {after['not_finite']:,} of {after['episodes']:,} episodes")
    for name, value in pooled.items():
        log.info(f"            {name.replace('_', ' ')} {decimal(value)} over the examples of all tasks")
    if "test_steps" in content:
        steps = content["test_steps"]
        log.info(f"            {steps['chosen']} inner steps, selected on meta-val from 0 to {steps['tried']}")
    before, *later = test["adaptation"][metric]["mean"]
    told = [f"before adaptation {decimal(before)}"] if later else []
    told += [f"gap to meta-train {decimal(content['gap'][metric], signed=True)}"] if "gap" in content else []
    if told:
        log.info(f"            {'   '.join(told)}")
    if harm := harmed(test, settings.algorithm):
        log.warning(f"            {harm}")
    log.info(f"baselines   {line(content['baselines'])}")
    if not_beaten := warning(content):
        log.warning(f"            {not_beaten}")


def harmed(test: Mapping[str, Any], algorithm: Algorithm) -> str | None:
    """A line if, by the meta-test of a result, adaptation makes the metric significantly worse."""
    gain = test.get("adaptation_gain")
    if gain is None or gain["p"] is None or gain["p"] >= SIGNIFICANT or gain["mean"] >= 0:
        return None
    keys = " or ".join(inner_keys(algorithm)) or "the step sizes of the inner loop"
    p = "p < 0.001" if gain["p"] < 0.001 else f"p = {gain['p']:.3f}"
    return f"adaptation makes the {gain['metric']} worse (paired t-test: {p}); lower {keys}"


def episodes(figure: Mapping[str, Any]) -> str:
    """``1,000 episodes of 11 tasks``: how many, and of how many tasks or classes where these come again."""
    told = f"{figure['episodes']:,} episodes"
    if "classes" in figure:
        return f"{told} of {figure['classes']:,} classes"
    tasks = figure.get("tasks", figure["episodes"])
    return told if tasks == figure["episodes"] else f"{told} of {tasks:,} task{'s' if tasks > 1 else ''}"


def amount(figure: Mapping[str, Any]) -> str:
    """The mean of a metric, or the median if there is no finite mean."""
    median = figure.get("median", nan)
    return f"not finite, median {decimal(median)}" if isfinite(median) else decimal(figure["mean"])


def margin(figure: Mapping[str, Any]) -> str:
    """`` ± 0.0051 (± 0.0093 for other classes)``: the half-widths of a figure's intervals, as far as it has any."""
    told = (
        f" ± {decimal(figure['ci95'])}" if isfinite(figure["ci95"]) else "" if "median" in figure else " (no interval)"
    )
    if isfinite(figure.get("ci95_classes", nan)):
        told += f" (± {decimal(figure['ci95_classes'])} for other classes)"
    return told


def relative_to_cwd(folder: Path) -> Path:
    """The path as the user would type it."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    return f"{device}, {threads} thread{'' if threads == 1 else 's'}"


def _model(choices: Mapping[str, str], learner: Learner) -> str:
    """The task model and the size of θ."""
    theta: Parameters = dict(learner.model.network.named_parameters())
    made = count({name: theta[name] for name in learner.hypernet.generated})
    return f"{choices['model']} (θ {count(theta):,}{f', {made:,} generated' if made else ''})"


def _hypernet(choices: Mapping[str, str], settings: Settings, learner: Learner, phi: MetaParameters) -> str:
    """The hypernetwork, and the sizes of f and of e_t with what makes it."""
    if not learner.hypernet.generated:
        return "no hypernetwork"
    sizes = f"e {settings.embedding.size}, {count(phi['embedding']):,} parameters"
    embedding = f"embedding {choices['embedding']} ({sizes})"
    return f"hypernet {choices['hypernet']} (f {count(phi['hypernet']):,}) on {embedding}"
