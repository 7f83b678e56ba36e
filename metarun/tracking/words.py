"""What a run says at its start and at its end."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from metarun.config.settings import Settings
from metarun.datasets.base import Dataset
from metarun.learner import Learner, MetaParameters
from metarun.models.base import count

log = logging.getLogger(__name__)


def introduce(
    settings: Settings, folder: Path, dataset: Dataset, learner: Learner, phi: MetaParameters, device: torch.device
) -> None:
    """What runs, on what, and where it is kept."""
    choices = settings.plain["choices"]
    parameters = sum(parameter.numel() for parameter in learner.model.network.parameters())
    log.info(dataset.summary())
    log.info(f"{choices['model']} ({parameters:,}) · {_hypernet(choices, phi)} · {choices['algorithm']}")
    how = f"{_device(device)}, {settings.device.precision}, {settings.engine.mode}"
    log.info(f"{how} · run folder {short(folder)}")


def conclude(settings: Settings, folder: Path, content: Mapping[str, Any]) -> None:
    """The result, the protocol it was got by, and what to type next."""
    metric = content["metric"]
    after = content["meta_test"][metric]
    others = "   ".join(f"{name} {value['mean']:.4f}" for name, value in content["meta_test"].items() if name != metric)
    step = content["train"]["tested_step"]
    which = f"best checkpoint (step {step:,})" if settings.mode == "train" else f"checkpoint of step {step:,}"
    log.info(f"meta-test   {after['episodes']:,} episodes, {which}, {settings.engine.mode}")
    log.info(f"            {metric} {after['mean']:.4f} ± {after['ci95']:.4f}   {others}")
    before, *later = content["adaptation"][metric]["mean"]
    unadapted = f"before adaptation {before:.4f}   " if later else ""
    log.info(f"            {unadapted}gap to meta-train {content['gap'][metric]:+.4f}")
    log.info(f"look        tensorboard --logdir {short(folder)}")
    if settings.mode == "train":
        log.info(f"again       metarun mode=test checkpoint={short(folder)}")


def short(folder: Path) -> Path:
    """The path as the user would type it."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device}, {torch.get_num_threads()} threads"


def _hypernet(choices: Mapping[str, str], phi: MetaParameters) -> str:
    if choices["hypernet"] == "none":
        return "no hypernetwork"
    made = f"hypernetwork {choices['hypernet']} ({count(phi['hypernet']):,})"
    return f"{made} on embedding {choices['embedding']} ({count(phi['embedding']):,})"
