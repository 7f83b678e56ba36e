"""A few polynomials, each on a domain of its own: the toy of von Oswald et al. (2020), "Continual learning with
hypernetworks", for learning one task after another.

The tasks are the same in all streams, but points are not. Support points, and queries in meta-training, are uniform on
the domain and under noise. Other queries are exact: uniform in meta-validation, evenly spaced in meta-test, as in the
authors' code. That code trains on 100 points a task drawn once; here every visit brings new ones.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metarun.core.counters import uniform
from metarun.core.errors import UserError
from metarun.core.names import shown
from metarun.datasets.base import Seeds
from metarun.datasets.functions import Functions, FunctionsConfig, Visits, between, check_range


@dataclass(kw_only=True)
class PolynomialsConfig(FunctionsConfig):
    """Keys of ``conf/dataset/polynomials.yaml``."""

    polynomials: list[list[float]]
    domains: list[list[float]]

    @property
    def known_tasks(self) -> int:
        return len(self.polynomials)

    def load(self, seed: int, device: torch.device, dtype: torch.dtype, episode_seed: int = 0) -> "Polynomials":
        if not self.polynomials or not all(self.polynomials):
            raise UserError(
                f"dataset.polynomials={shown(self.polynomials)}: give one or more lists of coefficients, "
                "highest power first, as in [[1,3],[2,0,-1]]"
            )
        if len(self.domains) != len(self.polynomials):
            raise UserError(
                f"dataset.domains={shown(self.domains)}: {len(self.domains)} for {len(self.polynomials)} "
                "dataset.polynomials; give one [lowest,highest] for each"
            )
        for domain in self.domains:
            check_range("domains", domain)
        return Polynomials(self, Seeds(seed, episode_seed), device, dtype)


class Polynomials(Functions):
    """Known polynomials, each a task and a group. Tasks come in turn, so that every stream visits all equally often."""

    name = "polynomials"
    _config: PolynomialsConfig
    split = "same tasks, points of their own"

    def __init__(self, config: PolynomialsConfig, seeds: Seeds, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(config, seeds, device, dtype)
        self.groups = tuple(
            f"task {number}: {written(coefficients)}" for number, coefficients in enumerate(config.polynomials, 1)
        )
        terms = max(map(len, config.polynomials))
        self.descriptor_size = terms
        padded = [[0.0] * (terms - len(coefficients)) + coefficients for coefficients in config.polynomials]
        self._coefficients = torch.tensor(padded, dtype=torch.float64, device=device)
        self._domains = torch.tensor(config.domains, dtype=torch.float64, device=device)

    def task_names(self, stream: str) -> tuple[str, ...]:
        """See `NamesTasks`: of all streams the same."""
        return tuple(map(written, self._config.polynomials))

    def _visits(self, stream: str, numbers: Tensor, group: int | None) -> Visits:
        self._check(group)
        identity = numbers % self.known_tasks if group is None else torch.full_like(numbers, group)
        return Visits(stream, numbers, identity, identity)

    def _parameters(self, visits: Visits) -> Tensor:
        return self._coefficients[visits.identity]

    def _inputs(self, visits: Visits, parameters: Tensor) -> Tensor:
        fractions = uniform(self._episode_keys(visits), self._points)
        if visits.stream == "test":
            queries = self._points - self._shots
            even = torch.linspace(0, 1, queries, dtype=fractions.dtype, device=fractions.device)
            fractions = torch.cat([fractions[:, : self._shots], even.expand(len(fractions), -1)], 1)
        return between(fractions, *self._domains[visits.identity].unsqueeze(1).unbind(-1))

    def _values(self, visits: Visits, parameters: Tensor, x: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        for coefficient in parameters.unsqueeze(1).unbind(-1):
            y = y * x + coefficient
        return y

    def _noisy(self, stream: str) -> Tensor:
        return torch.arange(self._points, device=self._device) < (self._points if stream == "train" else self._shots)

    def _descriptor(self, visits: Visits, parameters: Tensor) -> Tensor:
        largest = self._coefficients.abs().amax(0)
        return parameters / torch.where(largest > 0, largest, 1)

    def _told(self, visits: Visits, parameters: Tensor) -> dict[str, list[str]]:
        config, identities = self._config, visits.identity.tolist()
        return {
            "polynomial": [written(config.polynomials[identity]) for identity in identities],
            "domain": ["{:g} to {:g}".format(*config.domains[identity]) for identity in identities],
        }

    def _remark(self) -> str:
        tasks = zip(self._config.polynomials, self._config.domains, strict=True)
        return "; ".join(f"{written(coefficients)} on {low:g} to {high:g}" for coefficients, (low, high) in tasks)

    def _settings(self) -> dict[str, Any]:
        config = self._config
        return {
            "polynomials": [list(coefficients) for coefficients in config.polynomials],
            "domains": [list(d) for d in config.domains],
        }


def written(coefficients: list[float]) -> str:
    """A polynomial as text, from coefficients of the highest power first: ``[2, 0, -1]`` is "2x^2 - 1"."""
    text = ""
    for power, coefficient in zip(reversed(range(len(coefficients))), coefficients, strict=True):
        if not coefficient:
            continue
        size = f"{abs(coefficient):g}" if abs(coefficient) != 1 or not power else ""
        variable = ("", "x")[power] if power < 2 else f"x^{power}"
        sign = ("- " if coefficient < 0 else "+ ") if text else ("-" if coefficient < 0 else "")
        text += f"{' ' if text else ''}{sign}{size}{variable}"
    return text or "0"
