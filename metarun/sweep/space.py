"""Dimensions of a sweep: lists of values, or intervals, in Hydra's grammar of overrides."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from metarun.config.compose import explained, first_value, parse
from metarun.config.hydra import ConfigLoaderImpl
from metarun.config.zipped_keys import joined, keys_of
from metarun.core.errors import UserError
from metarun.core.names import listed, nearest, shown
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
class SweepCommand:
    """A sweep's command line, taken apart: what is the same for all jobs, and what differs, by key."""

    constants: list[str]
    swept: dict[str, Override]
    together: tuple[tuple[str, ...], ...] = ()
    """Keys of ``swept`` whose first values go together, their second values, and so on."""

    @property
    def seeds(self) -> list[str]:
        """The seeds typed, ``[]`` where none are swept."""
        return list(self.swept[SEED].sweep_string_iterator()) if SEED in self.swept else []

    def rows(self, key: str) -> list[dict[str, str]]:
        """The values of a key, each with those of the keys that are swept together with it."""
        keys = next((keys for keys in self.together if key in keys), (key,))
        columns = [list(self.swept[each].sweep_string_iterator()) for each in keys]
        return [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]

    def leaders(self) -> list[str]:
        """The keys that vary independently; of those that are swept together the first."""
        followers = {key for keys in self.together for key in keys[1:]}
        return [key for key in self.swept if key not in followers]

    def first(self) -> list[str]:
        """The overrides with the first value of each key; nothing of an interval."""
        return [*self.constants, *(text for override in self.swept.values() for text in first_value(override))]


def parse_sweep(overrides: Sequence[str]) -> SweepCommand:
    """The overrides that belong to jobs; those of Hydra and of the sweep itself are left out. Raises `UserError`."""
    constants, swept, together = [], dict[str, Override](), dict[tuple[str, ...], None]()
    for override in parse(overrides):
        if override.is_hydra_override() or of_sweep(override):
            continue
        if not override.is_sweep_override():
            constants.append(str(override.input_line))
        elif override.get_key_element() in swept:
            raise UserError(f"{override.input_line}: {override.get_key_element()} is given twice")
        else:
            swept[override.get_key_element()] = override
            if keys := keys_of(str(override.input_line)):
                together[keys] = None
    if SEED in swept and not swept[SEED].is_discrete_sweep():
        raise UserError(f"{swept[SEED].input_line}: seeds are given one by one, as in seed=0,1,2 or 'seed=range(5)'")
    return SweepCommand(constants, swept, tuple(together))


def of_sweep(override: Override) -> bool:
    """Whether an override is one of the sweep's own settings."""
    return override.key_or_group.split(".")[0].split("/")[0] == "sweep"


def searched(command: SweepCommand, name: str, loader: ConfigLoaderImpl) -> tuple[dict[str, Dimension], list[str]]:
    """A search's dimensions by key, and what it holds fixed: the space's, each replaced by what was typed for its key.

    name: of a file of `SPACES`. Raises `UserError` for a space that is not there or not one.
    """
    space = parse_sweep(_space(name, loader))
    typed = {str(override.key_or_group) for override in parse(command.constants)} | command.swept.keys()
    fixed = [str(one.input_line) for one in parse(space.constants) if one.get_key_element() not in typed]
    varied = {key: override for key, override in space.swept.items() if key not in typed} | command.swept
    kept = [keys for keys in space.together if not typed.intersection(keys)]
    whole = SweepCommand([], varied, (*kept, *command.together))
    dimensions = dict(_dimension(whole, key) for key in whole.leaders() if key != SEED)
    if not dimensions:
        raise UserError(
            f"sweep.space={name}: nothing to search; give a key more than one value, as in "
            "'algorithm.outer.lr=tag(log, interval(0.0001, 0.01))'"
        )
    return dimensions, fixed


def _dimension(command: SweepCommand, key: str) -> tuple[str, Dimension]:
    """A key, or keys that are swept together as one, and what their override means to a search."""
    keys = next((keys for keys in command.together if key in keys), None)
    if keys is None:
        return key, dimension(command.swept[key])
    rows = [joined(keys, list(row.values())) for row in command.rows(key)]
    return rows[0][0], Choice(tuple(value for _, value in rows))


def dimension(override: Override) -> Dimension:
    """The dimension of a search that an override declares. Raises `UserError` for an invalid interval."""
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
        raise UserError(f"{override.input_line}: a log scale needs numbers above 0")
    if whole and (low != int(low) or high != int(high)):
        raise UserError(f"{override.input_line}: an interval of integers needs integer bounds")
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
        raise UserError(
            f"sweep.space={name}: a search space has lines such as 'algorithm.outer.lr: interval(0.001, 0.01)'"
        )
    return [f"{key!s}={shown(value)}" for key, value in node.items()]
