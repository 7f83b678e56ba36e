"""A small table of scores for tests: two algorithms with hyperparameters of their own, tuned on several data sets."""

from pathlib import Path
from typing import Any

import ConfigSpace
import numpy as np

from metarun.datasets.score_tables import tidy
from metarun.datasets.score_tables.table import ScoreTable


def space() -> ConfigSpace.ConfigurationSpace:
    """``algorithm`` is svm, with a cost C, or knn, with k neighbors."""
    found = ConfigSpace.ConfigurationSpace()
    algorithm = ConfigSpace.Categorical("algorithm", ["svm", "knn"])
    cost = ConfigSpace.Float("svm:C", (0.01, 100.0), log=True)
    neighbors = ConfigSpace.Integer("knn:k", (1, 9))
    found.add(algorithm, cost, neighbors)
    found.add(
        ConfigSpace.EqualsCondition(cost, algorithm, "svm"), ConfigSpace.EqualsCondition(neighbors, algorithm, "knn")
    )
    return found


def configurations(each: int = 9) -> list[dict[str, Any]]:
    costs = [{"algorithm": "svm", "svm:C": float(cost)} for cost in np.logspace(-2, 2, each)]
    return costs + [{"algorithm": "knn", "knn:k": 1 + place % 9} for place in range(min(each, 9))]


def table(tasks: int = 12, each: int = 9, seed: int = 0, noise: float = 0.01) -> ScoreTable:
    """Errors: for svm a parabola in log C, whose minimum is the task's own; for knn a line in k.

    Meta-features tell the minimum and the offset of knn. The last four tasks are two groups of two.
    """
    random = np.random.default_rng(seed)
    known = configurations(each)
    best, offset = random.uniform(-1.5, 1.5, tasks), random.uniform(0.2, 0.5, tasks)
    errors = np.empty((tasks, len(known)))
    for place, values in enumerate(known):
        if values["algorithm"] == "svm":
            errors[:, place] = 0.1 + 0.1 * (np.log10(values["svm:C"]) - best) ** 2
        else:
            errors[:, place] = offset + 0.01 * values["knn:k"]
    errors += noise * random.normal(size=errors.shape)
    groups = [place if place < tasks - 4 else tasks - 4 + (place - tasks + 4) // 2 for place in range(tasks)]
    return ScoreTable(
        "small",
        tuple(f"data{place}" for place in range(tasks)),
        tuple(f"c{place}" for place in range(len(known))),
        space(),
        known,
        {"error": errors, "accuracy": 1 - errors},
        {"error": "minimize", "accuracy": "maximize"},
        np.full(errors.shape, 0.5),
        np.zeros(errors.shape, np.bool_),
        np.array(groups),
        np.stack([best, offset], 1),
        ("best", "offset"),
    )


def written(folder: Path, **changes: Any) -> Path:
    """A folder with such a table."""
    tidy.write(folder, table(**changes))
    return folder
