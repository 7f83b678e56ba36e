"""Families of synthetic data sets, which differ in what separates the classes or makes the target.

Each family is a function ``f(random)`` that returns x ``[n, d]`` and labels or numbers ``[n]``, with numbers of rows,
columns and classes of its own draw.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Family = Callable[[np.random.Generator], tuple[NDArray[np.float64], NDArray[Any]]]


def _rows(random: np.random.Generator) -> int:
    return int(np.exp(random.uniform(np.log(120), np.log(1200))))


def _columns(random: np.random.Generator, most: int = 30) -> int:
    return int(np.exp(random.uniform(np.log(3), np.log(most))))


def _state(random: np.random.Generator) -> int:
    return int(random.integers(2**32))


def clusters(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Normal clusters at the corners of a hypercube, useless and repeated columns, and wrong labels (Guyon 2003)."""
    from sklearn.datasets import make_classification

    useful, classes = int(random.integers(3, 10)), int(random.integers(2, 5))
    largest = float(random.choice([1 / classes, 0.7]))
    found: tuple[NDArray[np.float64], NDArray[Any]] = make_classification(
        _rows(random),
        n_features=useful + int(random.integers(0, 15)),
        n_informative=useful,
        n_redundant=0,
        n_classes=classes,
        n_clusters_per_class=int(random.integers(1, 3)),
        class_sep=float(random.uniform(0.5, 2)),
        flip_y=float(random.uniform(0, 0.15)),
        weights=[largest, *[(1 - largest) / (classes - 1)] * (classes - 1)],
        random_state=_state(random),
    )
    return found


def shells(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Classes that are shells of one normal distribution (`make_gaussian_quantiles`)."""
    from sklearn.datasets import make_gaussian_quantiles

    found: tuple[NDArray[np.float64], NDArray[Any]] = make_gaussian_quantiles(
        n_samples=_rows(random),
        n_features=_columns(random, 12),
        n_classes=int(random.integers(2, 5)),
        random_state=_state(random),
    )
    return found


def moons(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Two half circles, or two circles, with noise and useless columns."""
    from sklearn import datasets

    made = datasets.make_moons if random.random() < 0.5 else datasets.make_circles
    x, y = made(_rows(random), noise=float(random.uniform(0.05, 0.35)), random_state=_state(random))
    return np.hstack([x, random.normal(size=(len(x), int(random.integers(0, 8))))]), y


def blobs(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Round normal clusters that overlap, several of them a class."""
    from sklearn.datasets import make_blobs

    classes, columns = int(random.integers(2, 8)), _columns(random, 15)
    spread = float(random.uniform(2, 8))
    x, y, *_ = make_blobs(
        _rows(random), columns, centers=classes * int(random.integers(1, 4)), cluster_std=spread,
        random_state=_state(random),
    )  # fmt: skip
    return x, y % classes


def _signal_of_network(x: NDArray[np.float64], random: np.random.Generator, outputs: int) -> NDArray[np.float64]:
    hidden = np.tanh(x @ random.normal(size=(x.shape[1], 10)) * random.uniform(0.3, 2) / np.sqrt(x.shape[1]) * 2)
    found: NDArray[np.float64] = hidden @ random.normal(size=(10, outputs))
    return found


def network(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """The largest output of a random network of one hidden layer, with noise."""
    x = random.normal(size=(_rows(random), _columns(random)))
    outputs = _signal_of_network(x, random, int(random.integers(2, 6)))
    return x, (outputs + random.uniform(0, 1) * random.normal(size=outputs.shape)).argmax(1)


def _signal_of_tree(x: NDArray[np.float64], random: np.random.Generator, depth: int) -> NDArray[np.float64]:
    """A random value for each leaf of a random tree."""
    leaf = np.zeros(len(x), np.int64)
    for _ in range(depth):
        # Each node of a level splits a column of its own at one of its middle values.
        column = random.integers(x.shape[1], size=2**depth)[leaf]
        split = np.quantile(x, 0.5, axis=0)[column] + 0.5 * random.normal(size=2**depth)[leaf]
        leaf = 2 * leaf + (x[np.arange(len(x)), column] > split)
    found: NDArray[np.float64] = random.normal(size=2**depth)[leaf]
    return found


def tree(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Classes by random decision trees on columns of which some are whole numbers."""
    x = random.normal(size=(_rows(random), _columns(random)))
    rounded = random.random(x.shape[1]) < 0.4
    x[:, rounded] = x[:, rounded].round()
    depth = int(random.integers(2, 6))
    outputs = np.stack([_signal_of_tree(x, random, depth) for _ in range(int(random.integers(2, 5)))], 1)
    return x, (outputs + random.uniform(0, 0.7) * random.normal(size=outputs.shape)).argmax(1)


def linear(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """A logistic model of correlated columns."""
    rows, columns = _rows(random), _columns(random, 60)
    x = random.normal(size=(rows, columns)) @ random.normal(size=(columns, columns)) / np.sqrt(columns)
    signal = x @ (random.normal(size=columns) * (random.random(columns) < random.uniform(0.2, 1)))
    spread = signal.std() or 1.0
    return x, (signal / spread + random.uniform(0.1, 1.5) * random.logistic(size=rows) > random.normal() / 2).astype(
        int
    )


def parity(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """The parity of two or three signs among useless columns, some labels wrong."""
    x = random.normal(size=(_rows(random), _columns(random, 10)))
    y = (x[:, : int(random.integers(2, 4))] > 0).sum(1) % 2
    return x, np.where(random.random(len(x)) < random.uniform(0, 0.15), 1 - y, y)


def sparse_linear(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """A linear function of few columns, with noise."""
    x = random.normal(size=(_rows(random), _columns(random, 60)))
    signal = x @ (random.normal(size=x.shape[1]) * (random.random(x.shape[1]) < random.uniform(0.2, 1)))
    return x, signal + random.uniform(0.1, 1.5) * (signal.std() + 0.1) * random.normal(size=len(x))


def friedman(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """One of the three functions of Friedman (1991)."""
    from sklearn import datasets

    made = getattr(datasets, f"make_friedman{random.integers(1, 4)}")
    found: tuple[NDArray[np.float64], NDArray[Any]] = made(_rows(random), random_state=_state(random))
    x, y = found
    return x, y + random.uniform(0, 0.7) * y.std() * random.normal(size=len(y))


def network_values(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """The output of a random network of one hidden layer, with noise."""
    x = random.normal(size=(_rows(random), _columns(random)))
    y = _signal_of_network(x, random, 1)[:, 0]
    return x, y + random.uniform(0, 0.7) * y.std() * random.normal(size=len(y))


def tree_values(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """The sum of random trees, with noise."""
    x = random.normal(size=(_rows(random), _columns(random)))
    y = sum(_signal_of_tree(x, random, int(random.integers(2, 6))) for _ in range(int(random.integers(1, 6))))
    y = np.asarray(y)
    return x, y + (random.uniform(0, 0.7) * y.std() + 1e-3) * random.normal(size=len(y))


def waves(random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """A sine of a linear function, times another column, with noise."""
    x = random.uniform(-2, 2, size=(_rows(random), _columns(random, 8)))
    y = np.sin(x @ random.normal(size=x.shape[1]) * random.uniform(0.5, 2)) * (1 + random.uniform(0, 1) * x[:, 0])
    return x, y + random.uniform(0, 0.7) * y.std() * random.normal(size=len(y))


FAMILIES: dict[str, dict[str, Family]] = {
    "classification": {
        "clusters": clusters,
        "tree": tree,
        "network": network,
        "linear": linear,
        "shells": shells,
        "blobs": blobs,
        "moons": moons,
        "parity": parity,
    },
    "regression": {
        "sparse_linear": sparse_linear,
        "friedman": friedman,
        "network_values": network_values,
        "tree_values": tree_values,
        "waves": waves,
    },
}
"""By kind of target and name."""
