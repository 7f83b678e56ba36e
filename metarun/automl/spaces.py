"""The space of all base models together, and the configurations that are drawn from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import yaml

from metarun.automl.models import MODELS, BaseModel
from metarun.core.counters import key
from metarun.datasets.score_tables.space import SEPARATOR, Values, config_space, from_json

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace

MODEL = "model"
"""The hyperparameter that chooses the base model; the others are called ``MODEL:NAME``."""
_MOST_DRAWS = 100
"""How often a configuration is drawn again for each that is wanted, before a space counts as exhausted."""


@dataclass(frozen=True)
class Pool:
    """Configurations of several base models.

    identifiers: ``NAME-0`` is the default of a base model, ``NAME-1`` and on were drawn at random, always the same.
    configurations: the active values of each, all of ``space``.
    """

    space: "ConfigurationSpace"
    identifiers: tuple[str, ...]
    configurations: tuple[Values, ...]


@cache
def space_of(name: str) -> "ConfigurationSpace":
    """The space of a base model."""
    file = files("metarun.automl").joinpath("spaces", f"{name}.yaml")
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return from_json({"conditions": [], "forbiddens": [], **content}, str(file))


def joint_space(models: Sequence[BaseModel]) -> "ConfigurationSpace":
    """The space whose hyperparameter ``model`` chooses which of the others are active."""
    module = config_space()
    found: ConfigurationSpace = module.ConfigurationSpace()
    parent = module.Categorical(MODEL, [model.name for model in models])
    found.add(parent)
    for model in models:
        found.add_configuration_space(
            model.name,
            space_of(model.name),
            delimiter=SEPARATOR,
            parent_hyperparameter={"parent": parent, "value": model.name},
        )
    return found


def pool(models: Sequence[BaseModel], each: int) -> Pool:
    """The defaults of these models and random configurations, up to ``each`` of a model in all.

    More of them only add to fewer: a table can be extended.
    """
    identifiers, configurations = [], []
    for model in models:
        for number, values in enumerate(_drawn(model.name, each)):
            identifiers.append(f"{model.name}-{number}")
            configurations.append({MODEL: model.name} | {f"{model.name}{SEPARATOR}{k}": v for k, v in values.items()})
    return Pool(joint_space(models), tuple(identifiers), tuple(configurations))


def _drawn(name: str, each: int) -> list[dict[str, Any]]:
    """Up to ``each`` different configurations of a base model, fewer where its space has no more."""
    space = space_of(name)
    found = [_plain(space.get_default_configuration())]
    for draw in range(_MOST_DRAWS * each):
        if len(found) >= each:
            break
        space.seed(key(0, "automl", name, draw) % 2**32)
        values = _plain(space.sample_configuration())
        if values not in found:
            found.append(values)
    return found


def _plain(configuration: Any) -> dict[str, Any]:
    """Values in builtin types, floats with six significant digits, as tables show them."""
    values = {name: value.item() if hasattr(value, "item") else value for name, value in dict(configuration).items()}
    return {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in values.items()}


def built(values: Values, kind: str, seed: int) -> Any:
    """The estimator of a configuration of the joint space."""
    name = values[MODEL]
    own = {full.partition(SEPARATOR)[2]: value for full, value in values.items() if full != MODEL}
    return MODELS[name].build(kind, own, seed)
