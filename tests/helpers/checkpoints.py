"""A run's checkpoints as tests look into them."""

from pathlib import Path
from typing import Any

import torch

from metarun.core import tensor_file
from metarun.runs.files import LAST


def content_of(file: Path) -> dict[str, Any]:
    """A checkpoint's content, unchecked: dicts, tensors and plain values."""
    return tensor_file.read(file, torch.device("cpu"))


def state_of(folder: Path | str, file: str = LAST) -> dict[str, Any]:
    """The state in a checkpoint of the run in ``folder``."""
    state: dict[str, Any] = content_of(Path(folder) / file)["state"]
    return state
