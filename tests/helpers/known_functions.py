"""Data sets of functions as their YAML files have them."""

from pathlib import Path
from typing import Any

import torch
import yaml

from metarun.datasets.polynomials import Polynomials, PolynomialsConfig

_FILE = Path(__file__).resolve().parents[2] / "conf" / "dataset" / "polynomials.yaml"


def polynomials(seed: int = 0, **changes: Any) -> Polynomials:
    """The three polynomials of ``conf/dataset/polynomials.yaml``."""
    settings = {key: value for key, value in yaml.safe_load(_FILE.read_text()).items() if not key.startswith("_")}
    settings["polynomials"] = [[float(c) for c in own] for own in settings["polynomials"]]
    settings["domains"] = [[float(bound) for bound in domain] for domain in settings["domains"]]
    return PolynomialsConfig(**{**settings, **changes}).load(seed, torch.device("cpu"), torch.float64)
