"""Configuration spaces, as ConfigSpace defines them: read from JSON, or inferred from the configurations themselves."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from metarun.core.errors import UserError

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace

Values = Mapping[str, Any]
"""One configuration: the values of its active hyperparameters by name."""

SEPARATOR = ":"
"""Between an algorithm and its hyperparameter in a name: ``kSVM:C``."""
_LOG_RATIO = 20.0
"""Positive numbers whose largest is at least this many times their smallest are on a log scale when inferred."""


def missing_package(package: str, what: str) -> UserError:
    """The error for a package of the extra ``hpo`` that is not installed."""
    return UserError(f"{what} needs {package}, which is not installed: pip install 'metarun[hpo]'")


def config_space() -> Any:
    """The module ConfigSpace. Raises `UserError` if it is not installed."""
    try:
        import ConfigSpace
    except ImportError as error:
        raise missing_package("ConfigSpace", "a table of configurations") from error
    return ConfigSpace


def from_json(content: Any, source: str) -> "ConfigurationSpace":
    """The space that ``ConfigurationSpace.to_serialized_dict`` wrote. Raises `UserError`; source: the file."""
    module = config_space()
    try:
        space: ConfigurationSpace = module.ConfigurationSpace.from_serialized_dict(content)
    except Exception as error:  # ConfigSpace raises whatever the broken part of the content leads to
        raise UserError(f"{source}: 'space' is not a ConfigSpace space: {_first_line(error)}") from error
    if not len(space):
        raise UserError(f"{source}: 'space' is not a ConfigSpace space: it has no hyperparameters")
    return space


def check(space: "ConfigurationSpace", identifier: str, values: Values, source: str) -> None:
    """Refuse a configuration with values that are illegal, missing or inactive. Raises `UserError`."""
    try:
        config_space().Configuration(space, values=dict(values))
    except Exception as error:  # ConfigSpace raises several kinds
        raise UserError(f"{source}: configuration {identifier!r}: {_first_line(error)}") from error


def inferred(configurations: Sequence[Values], parent: str | None = None) -> "ConfigurationSpace":
    """A space that contains all these configurations, for tables that come without one.

    A hyperparameter is an integer or a float if all its values are, on a log scale where they are positive and span a
    factor of 20 or more, and categorical otherwise. parent: the categorical hyperparameter on whose value it depends
    which of the others are active; a hyperparameter is active for each of its values that some configuration combines
    it with.
    """
    module = config_space()
    seen: dict[str, dict[Any, None]] = {}
    for values in configurations:
        for name, value in values.items():
            seen.setdefault(name, {})[value] = None
    space = module.ConfigurationSpace()
    found = {name: _hyperparameter(module, name, list(values)) for name, values in seen.items()}
    space.add(*found.values())
    if parent is not None:
        conditions = []
        for name in found:
            owners = list(dict.fromkeys(values[parent] for values in configurations if name in values))
            if name != parent and len(owners) < len(seen[parent]):
                conditions.append(module.InCondition(found[name], found[parent], owners))
        space.add(*conditions)
    return space


def _hyperparameter(module: Any, name: str, values: list[Any]) -> Any:
    if len(values) == 1:
        return module.Constant(name, values[0])
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if not numbers:
        return module.Categorical(name, values)
    low, high = min(values), max(values)
    log = low > 0 and high / low >= _LOG_RATIO
    kind = module.Integer if all(isinstance(value, int) for value in values) else module.Float
    return kind(name, (low, high), log=log)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
