"""What a sweep varies: values in a row, or numbers from an interval, in Hydra's grammar of overrides."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from metarun.config.compose import explained, first_value, parse
from metarun.config.names import listed, nearest, shown
from metarun.errors import UserError
from metarun.sweep.search import SEED

SPACES = "sweep/space"
"""Where search spaces lie among the configuration files."""


@dataclass(frozen=True)
class Choice:
    """One of these values, each as it is typed."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class Interval:
    """A number from ``low`` to ``high``, both included; ``log``: every factor alike, ``whole``: an integer."""

    low: float
    high: float
    log: bool
    whole: bool


Dimension = Choice | Interval


@dataclass(frozen=True)
class Asked:
    """A sweep's command line, taken apart: what is the same for all jobs, and what differs, by key."""

    constants: list[str]
    swept: dict[str, Override]

    @property
    def seeds(self) -> list[str]:
        """The seeds typed, ``[]`` where none are swept."""
        return list(self.swept[SEED].sweep_string_iterator()) if SEED in self.swept else []

    def first(self) -> list[str]:
        """The overrides with the first value of each key; nothing of an interval."""
        return [*self.constants, *(text for override in self.swept.values() for text in first_value(override))]


def asked(overrides: Sequence[str]) -> Asked:
    """The overrides that belong to jobs; those of Hydra and of the sweep itself are left out. Raises `UserError`."""
    constants, swept = [], {}
    for override in parse(overrides):
        if override.is_hydra_override() or of_sweep(override):
            continue
        if not override.is_sweep_override():
            constants.append(str(override.input_line))
        elif override.get_key_element() in swept:
            raise UserError(f"{override.input_line}: {override.get_key_element()} is given twice")
        else:
            swept[override.get_key_element()] = override
    if SEED in swept and not swept[SEED].is_discrete_sweep():
        raise UserError(f"{swept[SEED].input_line}: seeds are given one by one, as in seed=0,1,2 or 'seed=range(5)'")
    return Asked(constants, swept)


def of_sweep(override: Override) -> bool:
    """Whether an override is one of the sweep's own settings."""
    return override.key_or_group.split(".")[0].split("/")[0] == "sweep"


def searched(command: Asked, name: str, loader: ConfigLoaderImpl) -> tuple[dict[str, Dimension], list[str]]:
    """A search's dimensions by key, and what it holds fixed: the space's, each replaced by what was typed for its key.

    name: of a file of `SPACES`. Raises `UserError` for a space that is not there or not one.
    """
    space = {override.get_key_element(): override for override in parse(_space(name, loader))}
    typed = {str(override.key_or_group) for override in parse(command.constants)} | command.swept.keys()
    space = {key: override for key, override in space.items() if key not in typed}
    fixed = [str(override.input_line) for override in space.values() if not override.is_sweep_override()]
    varied = {key: override for key, override in space.items() if override.is_sweep_override()} | command.swept
    dimensions = {key: dimension(override) for key, override in varied.items() if key != SEED}
    if not dimensions:
        raise UserError(
            f"sweep.space={name}: nothing to search; give a key more than one value, as in "
            "'algorithm.outer.lr=tag(log, interval(0.0001, 0.01))'"
        )
    return dimensions, fixed


def dimension(override: Override) -> Dimension:
    """What a sweep's override means to a search. Raises `UserError` for an interval that is none."""
    value = override.value()
    if isinstance(value, RangeSweep | IntervalSweep):
        tags = {str(tag) for tag in value.tags}
        if unknown := tags - {"log", "int"}:
            raise UserError(f"{override.input_line}: no tag '{min(unknown)}'; there are log and int")
        if isinstance(value, IntervalSweep):
            return _interval(override, value.start, value.end, "log" in tags, "int" in tags)
        steps = value.range()
        if isinstance(steps, range) and len(steps) > 1 and steps.step == 1:
            return _interval(override, steps[0], steps[-1], "log" in tags, True)
    return Choice(tuple(override.sweep_string_iterator()))


def _interval(override: Override, low: Any, high: Any, log: bool, whole: bool) -> Interval:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"{override.input_line}: the interval's first number must be below its second")
    if log and low <= 0:
        raise UserError(f"{override.input_line}: on a log scale numbers are above 0")
    if whole and (low != int(low) or high != int(high)):
        raise UserError(f"{override.input_line}: the ends of an interval of integers are integers")
    return Interval(float(low), float(high), log, whole)


def _space(name: str, loader: ConfigLoaderImpl) -> list[str]:
    """The overrides that a search space's file holds."""
    known = loader.get_group_options(SPACES)
    if name not in known:
        raise UserError(f"sweep.space={name}: no such search space{nearest(name, known)} (there are {listed(known)})")
    try:
        config = loader.load_configuration(f"{SPACES}/{name}", [], run_mode=RunMode.RUN)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise explained(error) from error
    found = OmegaConf.select(config, SPACES.replace("/", "."))
    node = OmegaConf.to_container(found) if OmegaConf.is_dict(found) else None
    if not isinstance(node, dict):
        raise UserError(f"sweep.space={name}: a space holds lines like 'algorithm.outer.lr: interval(0.001, 0.01)'")
    return [f"{key!s}={shown(value)}" for key, value in node.items()]
