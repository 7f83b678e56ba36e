"""Versions of what the numbers of a run depend on."""

import platform
from importlib.metadata import version

import torch

from metarun.core.version import __version__


def versions() -> dict[str, str]:
    """Of what the numbers may depend on."""
    packages = {name: version(name) for name in ("numpy", "hydra-core", "omegaconf")}
    return {"metarun": __version__, "python": platform.python_version(), "torch": torch.__version__, **packages}
