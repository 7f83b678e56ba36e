"""Functions of several families: the multimodal regression tasks of Vuorio et al. (2019), "MMAML", section 5.1.

Each task is of one of these families, any as likely as another; its parameters are uniform. Ranges as in the authors'
code; the sign of a quadratic's curvature is drawn too.

| family    | y                                  |
| --------- | ---------------------------------- |
| sine      | amplitude · sin(x - phase)         |
| line      | slope · x + intercept              |
| quadratic | curvature · (x - center)² + offset |
| absolute  | slope · abs(x - center) + offset   |
| tanh      | slope · tanh(x - center) + offset  |
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from metarun.core.counters import uniform
from metarun.core.errors import UserError
from metarun.core.names import listed, nearest, shown
from metarun.core.tasks import TaskBatch
from metarun.datasets.base import Seeds
from metarun.datasets.functions import (
    DrawnFunctionsConfig,
    Functions,
    Visits,
    between,
    check_range,
    in_words,
    scaled,
)


class Family(NamedTuple):
    """A family of functions of up to three parameters.

    parameters: the keys of their ranges; value: y from (parameters ``[3, T, 1]``, x ``[T, n]``); description: a format
    string of the formula; either_sign: whether the first parameter may be negative as well.
    """

    parameters: tuple[str, ...]
    value: Callable[[Tensor, Tensor], Tensor]
    description: str
    either_sign: bool = False


FAMILIES = {
    "sine": Family(("amplitude", "phase"), lambda p, x: p[0] * torch.sin(x - p[1]), "{0:.3g} sin(x {1})"),
    "line": Family(("slope", "intercept"), lambda p, x: p[0] * x + p[1], "{0:.3g} x {1}"),
    "quadratic": Family(
        ("curvature", "center", "offset"),
        lambda p, x: p[0] * (x - p[1]).square() + p[2],
        "{0:.3g} (x {1})^2 {2}",
        either_sign=True,
    ),
    "absolute": Family(
        ("slope", "center", "offset"), lambda p, x: p[0] * (x - p[1]).abs() + p[2], "{0:.3g} abs(x {1}) {2}"
    ),
    "tanh": Family(
        ("slope", "center", "offset"), lambda p, x: p[0] * torch.tanh(x - p[1]) + p[2], "{0:.3g} tanh(x {1}) {2}"
    ),
}
RANGES = ("amplitude", "phase", "slope", "intercept", "curvature", "center", "offset", "x")
_MOST = max(len(family.parameters) for family in FAMILIES.values())
_SUBTRACTED = ("phase", "center")


@dataclass(kw_only=True)
class RegressionFamiliesConfig(DrawnFunctionsConfig):
    """Keys of ``conf/dataset/regression_families.yaml``. Each range is two numbers, lowest and highest."""

    families: list[str]
    amplitude: list[float]
    phase: list[float]
    slope: list[float]
    intercept: list[float]
    curvature: list[float]
    center: list[float]
    offset: list[float]
    x: list[float]

    def load(self, seed: int, device: torch.device, dtype: torch.dtype, episode_seed: int = 0) -> "RegressionFamilies":
        given = f"dataset.families={shown(self.families)}"
        for place, family in enumerate(self.families):
            if family not in FAMILIES:
                raise UserError(
                    f"{given}: no family '{family}'{nearest(family, FAMILIES)} (families: {listed(FAMILIES)})"
                )
            if family in self.families[:place]:
                raise UserError(f"{given}: '{family}' is given twice; name each family once")
        if not self.families:
            raise UserError(f"{given}: name at least one of {listed(FAMILIES)}")
        if self.tasks is not None and self.tasks < len(self.families):
            raise UserError(
                f"dataset.tasks={self.tasks}: give at least {len(self.families)}, one for each of dataset.families"
            )
        for name in RANGES:
            check_range(name, getattr(self, name))
        return RegressionFamilies(self, Seeds(seed, episode_seed), device, dtype)


class RegressionFamilies(Functions):
    """Functions of several families, which are its groups."""

    name = "regression_families"
    _config: RegressionFamiliesConfig

    def __init__(
        self, config: RegressionFamiliesConfig, seeds: Seeds, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__(config, seeds, device, dtype)
        self.groups = tuple(config.families)
        self.descriptor_size = len(self.groups) + _MOST
        self._families = [FAMILIES[name] for name in self.groups]
        # Where a family has fewer parameters than others, the rest are 0.
        ranges = [[getattr(config, name) for name in family.parameters] for family in self._families]
        table = [[*known, *[[0.0, 0.0]] * (_MOST - len(known))] for known in ranges]
        self._ranges = torch.tensor(table, dtype=torch.float64, device=device)
        self._either = torch.tensor([family.either_sign for family in self._families], device=device)

    def _parameters(self, visits: Visits) -> Tensor:
        draws = uniform(self._task_keys(visits, "function"), _MOST + 1)
        lowest, highest = self._ranges[visits.group].unbind(-1)
        sign = torch.where(self._either[visits.group] & (draws[:, _MOST] < 0.5), -1, 1)
        drawn = between(draws[:, :_MOST], lowest, highest)
        return torch.cat([sign[:, None] * drawn[:, :1], drawn[:, 1:]], -1)

    def _inputs(self, visits: Visits, parameters: Tensor) -> Tensor:
        return between(uniform(self._episode_keys(visits), self._points), *self._config.x)

    def _values(self, visits: Visits, parameters: Tensor, x: Tensor) -> Tensor:
        columns = parameters.T.unsqueeze(-1)
        every = torch.stack([family.value(columns, x) for family in self._families])
        return every[visits.group, torch.arange(len(x), device=x.device)]

    def _descriptor(self, visits: Visits, parameters: Tensor) -> Tensor:
        lowest, highest = self._ranges[visits.group].unbind(-1)
        either = self._either[visits.group, None] & (torch.arange(_MOST, device=self._device) == 0)
        most = torch.maximum(lowest.abs(), highest.abs())
        values = scaled(parameters, torch.where(either, -most, lowest), torch.where(either, most, highest))
        return torch.cat([F.one_hot(visits.group, len(self.groups)).to(values), values], -1)

    def _visited(self, stream: str, tasks: TaskBatch) -> Visits:
        # Which group was asked for is not in a task's number, but its family is in its descriptor.
        families = tasks.descriptor[:, : len(self.groups)].argmax(-1)
        return Visits(stream, tasks.number, tasks.identity, families)

    def _told(self, visits: Visits, parameters: Tensor) -> dict[str, list[str]]:
        places = visits.group.tolist()
        functions = zip(places, parameters.tolist(), strict=True)
        return {
            "family": [self.groups[place] for place in places],
            "function": [self._formula(self._families[place], values) for place, values in functions],
        }

    def _remark(self) -> str:
        return f"{', '.join(self.groups)}, {in_words([('x', self._config.x)])}"

    def _settings(self) -> dict[str, Any]:
        used = {"x", *(name for family in self._families for name in family.parameters)}
        ranges = {name: list(getattr(self._config, name)) for name in RANGES if name in used}
        return {"families": list(self.groups), **ranges}

    @staticmethod
    def _formula(family: Family, values: list[float]) -> str:
        first, *others = zip(family.parameters, values, strict=False)
        terms = [-value if name in _SUBTRACTED else value for name, value in others]
        return family.description.format(first[1], *(f"{'-' if term < 0 else '+'} {abs(term):.3g}" for term in terms))
