"""Ridge regression on the tasks of a table dataset: one for all tasks, one for each, and one for all with offsets.

    scripts/ridge_by_task.py dataset=school dataset.path=school.mat [--first 1] [--splits 9]

Takes the overrides of metarun's dataset, and judges each on the same examples as metarun's meta-test with that seed:
fits to all support sets, explained variance over all queries. The penalty is chosen by leave-one-out cross-validation.
The splits are those of the seeds --first, --first + 1, …; by default not of seed 0, by which settings are tuned.
Needs scikit-learn: pip install -e .[analysis]
"""

import argparse
from collections.abc import Callable
from statistics import mean, stdev

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

from metarun.config.compose import compose, plain
from metarun.core.tasks import AnyExamples
from metarun.datasets.base import Dataset
from metarun.setup.check import check

Rows = NDArray[np.float64]
PENALTIES = np.logspace(-2, 5, 29)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="+")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--splits", type=int, default=9, help="number of seeds (2 or more)")
    given = parser.parse_args()
    if given.splits < 2:
        parser.error(f"--splits {given.splits}: give 2 or more")
    config = compose(given.overrides)
    settings = check(plain(config, config.hydra.runtime.choices))
    methods: dict[str, Callable[[list[Rows], list[Rows], list[Rows]], list[Rows]]] = {
        "one ridge for all": for_all,
        "one ridge a task": for_each,
        "one for all, with an offset a task": with_offsets,
    }
    found: dict[str, list[float]] = {name: [] for name in methods}
    seeds = range(given.first, given.first + given.splits)
    for seed in seeds:
        dataset = settings.dataset.load(seed, torch.device("cpu"), torch.float64)
        tasks = dataset.distinct("test")
        if tasks is None:
            parser.error(
                f"dataset={dataset.name}: draws meta-test tasks anew at every visit; give a table, with "
                "dataset.split=rows dataset.shots=null dataset.queries=null, whose tasks are judged once on all rows"
            )
        x, y, queries, wanted = examples(dataset, tasks)
        for name, method in methods.items():
            found[name].append(explained_variance(method(x, y, queries), wanted))
    for name, values in found.items():
        told = f"{mean(values):.4f} ± {stdev(values):.4f} over the splits of seeds {seeds[0]} to {seeds[-1]}"
        print(f"{name:36} explained variance {told}: {' '.join(f'{value:.4f}' for value in values)}")


def examples(dataset: Dataset, tasks: int) -> tuple[list[Rows], list[Rows], list[Rows], list[Rows]]:
    """Of every task: support x and y, query x and y."""
    batch = dataset.sample("test", 0, tasks)
    return (*rows(batch.support), *rows(batch.query))


def rows(part: AnyExamples) -> tuple[list[Rows], list[Rows]]:
    """The examples of each task, without what fills up."""
    mask = torch.ones_like(part.y[..., 0]) if part.mask is None else part.mask
    x = [values[chosen > 0].numpy() for values, chosen in zip(part.x, mask, strict=True)]
    y = [values[chosen > 0, 0].numpy() for values, chosen in zip(part.y, mask, strict=True)]
    return x, y


def for_all(x: list[Rows], y: list[Rows], queries: list[Rows]) -> list[Rows]:
    model = RidgeCV(PENALTIES).fit(np.concatenate(x), np.concatenate(y))
    return [model.predict(query) for query in queries]


def for_each(x: list[Rows], y: list[Rows], queries: list[Rows]) -> list[Rows]:
    return [RidgeCV(PENALTIES).fit(a, b).predict(query) for a, b, query in zip(x, y, queries, strict=True)]


def with_offsets(x: list[Rows], y: list[Rows], queries: list[Rows]) -> list[Rows]:
    marked = [marked_by_task(part) for part in (x, queries)]
    return for_all(marked[0], y, marked[1])


def marked_by_task(x: list[Rows]) -> list[Rows]:
    """With a column for each task, which is 3 in its own rows and so is penalized less than the others."""
    return [np.hstack((part, 3 * np.eye(len(x))[np.full(len(part), task)])) for task, part in enumerate(x)]


def explained_variance(predicted: list[Rows], wanted: list[Rows]) -> float:
    """1 - squared error / variance, over the queries of all tasks together."""
    truth = np.concatenate(wanted)
    error = np.square(np.concatenate(predicted) - truth).sum()
    return float(1 - error / np.square(truth - truth.mean()).sum())


if __name__ == "__main__":
    main()
