"""Harmonics: the toy regression of Lacoste et al. (2018), "Uncertainty in Multitask Transfer Learning".

y = a₁ sin(ωx + b₁) + a₂ sin(2ωx + b₂), with aᵢ normal, ω and bᵢ uniform; x is normal about a center that is the task's.
Ranges as in the torchmeta library (whose docstring calls the range of ω that of the amplitudes).
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from metarun.core.counters import uniform
from metarun.core.fields import number
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
    normal,
    scaled,
)

_PHASE = [0.0, 2 * math.pi]
_PARAMETERS = ("frequency", "center", "phase 1", "phase 2", "amplitude 1", "amplitude 2")


@dataclass(kw_only=True)
class HarmonicsConfig(DrawnFunctionsConfig):
    """Keys of ``conf/dataset/harmonics.yaml``. Each range is two numbers, lowest and highest."""

    frequency: list[float]
    amplitude: float = number(least=0)
    center: list[float]
    spread: float = number(least=0)

    def load(self, seed: int, device: torch.device, dtype: torch.dtype, episode_seed: int = 0) -> "Harmonics":
        for name in ("frequency", "center"):
            check_range(name, getattr(self, name))
        return Harmonics(self, Seeds(seed, episode_seed), device, dtype)


class Harmonics(Functions):
    """Sums of two sine waves, the second of twice the frequency; frequency in radians per unit of x."""

    name = "harmonics"
    descriptor_size = 6
    _config: HarmonicsConfig

    def _parameters(self, visits: Visits) -> Tensor:
        fractions = uniform(self._task_keys(visits, "wave"), 4)
        ranges = (self._config.frequency, self._config.center, _PHASE, _PHASE)
        drawn = [between(fractions[:, column], *its_range) for column, its_range in enumerate(ranges)]
        amplitudes = self._config.amplitude * normal(self._task_keys(visits, "amplitudes"), 2)
        return torch.cat([torch.stack(drawn, -1), amplitudes], -1)

    def _inputs(self, visits: Visits, parameters: Tensor) -> Tensor:
        return parameters[:, 1, None] + self._config.spread * normal(self._episode_keys(visits), self._points)

    def _values(self, visits: Visits, parameters: Tensor, x: Tensor) -> Tensor:
        frequency, _, phase_1, phase_2, amplitude_1, amplitude_2 = parameters.unsqueeze(1).unbind(-1)
        turn = frequency * x
        return amplitude_1 * torch.sin(turn + phase_1) + amplitude_2 * torch.sin(2 * turn + phase_2)

    def _descriptor(self, visits: Visits, parameters: Tensor) -> Tensor:
        return scaled(parameters, *self._ranges)

    @cached_property
    def _ranges(self) -> tuple[Tensor, Tensor]:
        # Normal numbers have no range: two standard deviations hold 95 % of them.
        most = [-2 * self._config.amplitude, 2 * self._config.amplitude]
        return bounds([self._config.frequency, self._config.center, _PHASE, _PHASE, most, most], self._device)

    def _told(self, visits: Visits, parameters: Tensor) -> dict[str, list[str]]:
        return in_columns(_PARAMETERS, parameters)

    def _remark(self) -> str:
        ranges = in_words((name, getattr(self._config, name)) for name in ("frequency", "center"))
        return f"{ranges}, amplitudes ~ N(0, {self._config.amplitude:g}²), x ~ N(center, {self._config.spread:g}²)"

    def _settings(self) -> dict[str, Any]:
        config = self._config
        ranges = {"frequency": list(config.frequency), "center": list(config.center)}
        return {**ranges, "amplitude": config.amplitude, "spread": config.spread}
