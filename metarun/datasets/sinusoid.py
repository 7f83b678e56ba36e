"""Sine waves: the regression tasks of Finn et al. (2017), section 5.1. y = amplitude · sin(x - phase)."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metarun.config.fields import number
from metarun.counters import key, keys, uniform
from metarun.datasets.base import split_of
from metarun.errors import UserError
from metarun.kinds import Regression
from metarun.tasks import Examples, TaskBatch


@dataclass(kw_only=True)
class SinusoidConfig:
    """Keys of ``conf/dataset/sinusoid.yaml``. Each range is two numbers, lowest and highest."""

    shots: int = number(least=1)
    queries: int = number(least=1)
    amplitude: list[float]
    phase: list[float]
    x: list[float]
    noise: float = number(least=0)

    def load(self, seed: int, device: torch.device, dtype: torch.dtype) -> "Sinusoid":
        for name in ("amplitude", "phase", "x"):
            bounds = getattr(self, name)
            if len(bounds) != 2 or not all(map(math.isfinite, bounds)) or bounds[0] > bounds[1]:
                raise UserError(f"dataset.{name}={bounds}: give two numbers, lowest and highest, as in [0.1,5]")
        return Sinusoid(self, seed, device, dtype)


class Sinusoid:
    """Every task has a wave and points of its own; the streams draw theirs from separate seeds."""

    name = "sinusoid"
    input_shape = (1,)

    def __init__(self, config: SinusoidConfig, seed: int, device: torch.device, dtype: torch.dtype) -> None:
        self._config, self._seed, self._device, self._dtype = config, seed, device, dtype

    def kind(self, stream: str) -> Regression:
        return Regression()

    def truth(self, stream: str, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Amplitude and phase (radians) of the tasks of these ``numbers`` ``[T]``: float64 ``[T]`` each."""
        amplitude, phase = uniform(self._keys(stream, "wave", numbers), 2).unbind(-1)
        return _between(amplitude, self._config.amplitude), _between(phase, self._config.phase)

    def sample(self, stream: str, index: int, tasks: int) -> TaskBatch:
        """See `Dataset.sample`. x and y: ``[T, shots, 1]`` and ``[T, queries, 1]``."""
        shots, points = self._config.shots, self._config.shots + self._config.queries
        numbers = index * tasks + torch.arange(tasks, device=self._device)
        x = _between(uniform(self._keys(stream, "points", numbers), points), self._config.x)
        amplitude, phase = self.truth(stream, numbers)
        y = amplitude[:, None] * torch.sin(x - phase[:, None])
        if self._config.noise:
            y = y + self._config.noise * _normal(self._keys(stream, "noise", numbers), points)
        x, y = x.unsqueeze(-1).to(self._dtype), y.unsqueeze(-1).to(self._dtype)
        return TaskBatch(Examples(x[:, :shots], y[:, :shots]), Examples(x[:, shots:], y[:, shots:]), numbers)

    def summary(self) -> str:
        config = self._config
        ranges = ", ".join(
            f"{name} {bounds[0]:g} to {bounds[1]:g}"
            for name, bounds in (("amplitude", config.amplitude), ("phase", config.phase), ("x", config.x))
        )
        return f"{self.name} · {config.shots}-shot · {config.queries} queries      {ranges}, noise {config.noise:g}"

    def protocol(self) -> dict[str, Any]:
        config = self._config
        ranges = {"amplitude": list(config.amplitude), "phase": list(config.phase), "x": list(config.x)}
        sizes = {"shots": config.shots, "queries": config.queries}
        return {"dataset": self.name, **sizes, **ranges, "noise": config.noise, "split": "separate seeds"}

    def _keys(self, stream: str, purpose: str, numbers: Tensor) -> Tensor:
        split_of(stream)  # a mistyped stream would otherwise be one more seed
        return keys(key(self._seed, "dataset", stream, purpose), numbers)


def _between(fraction: Tensor, bounds: list[float]) -> Tensor:
    return bounds[0] + fraction * (bounds[1] - bounds[0])


def _normal(of: Tensor, count: int) -> Tensor:
    """``[..., count]`` standard normal numbers (Box & Muller 1958)."""
    radius, turn = uniform(of, 2 * count).split(count, -1)
    return (-2 * torch.log1p(-radius)).sqrt() * torch.cos(2 * math.pi * turn)
