"""Sine waves: the regression tasks of Finn et al. (2017), section 5.1. y = amplitude · sin(x - phase)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from metarun.core.counters import uniform
from metarun.datasets.base import Seeds
from metarun.datasets.functions import (
    DrawnFunctionsConfig,
    Functions,
    Visits,
    between,
    bounds,
    check_range,
    in_columns,
    in_words,
    scaled,
)


@dataclass(kw_only=True)
class SinusoidConfig(DrawnFunctionsConfig):
    """Keys of ``conf/dataset/sinusoid.yaml``. Each range is two numbers, lowest and highest."""

    amplitude: list[float]
    phase: list[float]
    x: list[float]

    def load(self, seed: int, device: torch.device, dtype: torch.dtype, episode_seed: int = 0) -> "Sinusoid":
        for name in ("amplitude", "phase", "x"):
            check_range(name, getattr(self, name))
        return Sinusoid(self, Seeds(seed, episode_seed), device, dtype)


class Sinusoid(Functions):
    """Sine waves; the phase is in radians."""

    name = "sinusoid"
    descriptor_size = 2
    _config: SinusoidConfig

    def _parameters(self, visits: Visits) -> Tensor:
        amplitude, phase = uniform(self._task_keys(visits, "wave"), 2).unbind(-1)
        return torch.stack([between(amplitude, *self._config.amplitude), between(phase, *self._config.phase)], -1)

    def _inputs(self, visits: Visits, parameters: Tensor) -> Tensor:
        return between(uniform(self._episode_keys(visits), self._points), *self._config.x)

    def _values(self, visits: Visits, parameters: Tensor, x: Tensor) -> Tensor:
        amplitude, phase = parameters.unsqueeze(1).unbind(-1)
        return amplitude * torch.sin(x - phase)

    def _descriptor(self, visits: Visits, parameters: Tensor) -> Tensor:
        return scaled(parameters, *self._ranges)

    @cached_property
    def _ranges(self) -> tuple[Tensor, Tensor]:
        return bounds([self._config.amplitude, self._config.phase], self._device)

    def _told(self, visits: Visits, parameters: Tensor) -> dict[str, list[str]]:
        return in_columns(("amplitude", "phase"), parameters)

    def _remark(self) -> str:
        return in_words(self._settings().items())

    def _settings(self) -> dict[str, Any]:
        return {name: list(getattr(self._config, name)) for name in ("amplitude", "phase", "x")}
