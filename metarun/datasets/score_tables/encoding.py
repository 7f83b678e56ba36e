"""Configurations as vectors that networks and Gaussian processes take."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metarun.datasets.score_tables.space import Values, config_space

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace
    from ConfigSpace.hyperparameters import Hyperparameter


def encoded(space: "ConfigurationSpace", configurations: Sequence[Values]) -> tuple[NDArray[np.float64], list[str]]:
    """Encode configurations as ``[n, columns]``; returns the names of the columns too.

    A float or an integer becomes one column from -1 to 1 over its range, on its own scale (linear or logarithmic); an
    ordinal value one column from -1 to 1 by its position; a categorical value one column of zeros and ones for each
    choice. A number or an ordinal value that can be inactive has a second column, ``NAME.active``, and is 0 where it
    is inactive; an inactive categorical value is 0 in all its columns. Constants have no column of their own.
    """
    columns: list[NDArray[np.float64]] = []
    names: list[str] = []
    conditional = set(space.conditional_hyperparameters)
    for name, hyperparameter in space.items():
        active = np.array([name in values for values in configurations], np.bool_)
        for column, values in _columns(hyperparameter, configurations, active, name in conditional):
            names.append(column)
            columns.append(values)
    return np.stack(columns, 1) if columns else np.zeros((len(configurations), 0)), names


def _columns(
    hyperparameter: "Hyperparameter", configurations: Sequence[Values], active: NDArray[np.bool_], conditional: bool
) -> list[tuple[str, NDArray[np.float64]]]:
    kinds = config_space().hyperparameters
    name = hyperparameter.name
    given = [values[name] for values in configurations if name in values]
    if isinstance(hyperparameter, kinds.Constant):
        return []
    if isinstance(hyperparameter, kinds.CategoricalHyperparameter):
        return [
            (f"{name}={choice}", _filled(active, [float(value == choice) for value in given]))
            for choice in hyperparameter.choices
        ]
    if isinstance(hyperparameter, kinds.OrdinalHyperparameter):
        last = max(len(hyperparameter.sequence) - 1, 1)
        unit = [hyperparameter.sequence.index(value) / last for value in given]
    else:
        unit = [float(each) for each in hyperparameter.to_vector(np.array(given))] if given else []
    scaled = (name, _filled(active, [2 * each - 1 for each in unit]))
    return [scaled, (f"{name}.active", active.astype(np.float64))] if conditional else [scaled]


def _filled(active: NDArray[np.bool_], values: Sequence[float]) -> NDArray[np.float64]:
    """The values in the active rows, and 0 elsewhere."""
    column = np.zeros(len(active))
    column[active] = values
    return column
