"""Meta-features of a data set: simple, statistical, information-theoretic, and landmarkers.

Those of Brazdil et al. (2009), "Metalearning", chapter 2, and of Feurer et al. (2015), "Efficient and robust automated
machine learning", that take no longer than a fit or two.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarun.automl.columns import CATEGORY, DATE, IGNORED, NUMBER, is_missing, preprocessor
from metarun.automl.cross_validation import one_thread, splits, subsample
from metarun.automl.tabular import Tabular

MOST_ROWS = 1000
"""Rows that all but the simple ones are computed from."""
_BINS = 10
_TARGET_BINS = 5
_FOLDS = 3


def meta_features(data: Tabular, seed: int) -> dict[str, float]:
    """All meta-features by name, finite numbers, for both kinds of target the same names."""
    few = subsample(data, MOST_ROWS, seed)
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")  # of columns that are constant among these rows
        x = np.asarray(preprocessor(few.columns).fit_transform(few.x), np.float64)
        found = {**simple(data), **statistical(x), **information(x, few), **landmarkers(x, few, seed)}
    return {name: round(float(value), 6) if np.isfinite(value) else 0.0 for name, value in found.items()}


def simple(data: Tabular) -> dict[str, float]:
    """Counts, shares of kinds of columns, and of missing cells and of classes."""
    rows, columns = data.x.shape
    used = [place for place, kind in enumerate(data.columns) if kind != IGNORED]
    share = {kind: data.columns.count(kind) / columns for kind in (NUMBER, CATEGORY, DATE)}
    sizes = np.bincount(data.y) / rows if data.classes is not None else np.ones(1)
    return {
        "log_rows": np.log(rows),
        "log_columns": np.log(columns),
        "log_rows_per_column": np.log(rows / columns),
        "classes": 0.0 if data.classes is None else float(len(data.classes)),
        "number_share": share[NUMBER],
        "category_share": share[CATEGORY],
        "missing_share": _missing(data.x[:, used]),
        "smallest_class": sizes.min(),
        "largest_class": sizes.max(),
    }


def _missing(x: Any) -> float:
    if x.dtype.kind == "f":
        return float(np.isnan(x).mean())
    return 0.0 if x.dtype.kind in "iub" else float(np.mean([is_missing(cell) for cell in x.ravel().tolist()]))


def statistical(x: NDArray[np.float64]) -> dict[str, float]:
    """Moments and correlations of the encoded columns, and the share of principal components that have 95 % of the
    variance."""
    spread = x.std(0)
    z = (x - x.mean(0))[:, spread > 0] / spread[spread > 0]
    skewness, kurtosis = (z**3).mean(0), (z**4).mean(0) - 3
    correlation = np.abs(z.T @ z / len(z))[np.triu_indices(z.shape[1], 1)]
    variance = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2
    needed = np.searchsorted(np.cumsum(variance) / variance.sum(), 0.95) + 1
    return {
        "skewness_mean": np.abs(skewness).mean(),
        "skewness_std": skewness.std(),
        "kurtosis_mean": np.clip(kurtosis, None, 100).mean(),
        "correlation_mean": correlation.mean() if len(correlation) else 0.0,
        "correlation_max": correlation.max() if len(correlation) else 0.0,
        "outlier_share": (np.abs(z) > 3).mean(),
        "components_share": needed / x.shape[1],
    }


def information(x: NDArray[np.float64], data: Tabular) -> dict[str, float]:
    """Entropies and mutual information, in bits, of columns in ten bins of equal counts (a target of numbers: five)."""
    y = data.y if data.classes is not None else binned(data.y, _TARGET_BINS)
    columns = [binned(column, _BINS) for column in x.T]
    target = entropy(y)
    own = np.array([entropy(column) for column in columns])
    mutual = np.array([entropy(column) + target - entropy(column * (y.max() + 1) + y) for column in columns])
    mean = mutual.mean()
    return {
        "target_entropy": target,
        "column_entropy_mean": own.mean(),
        "mutual_information_mean": mean,
        "mutual_information_max": mutual.max(),
        "equivalent_columns": min(target / mean, 1000.0) if mean > 0 else 1000.0,
        "noise_to_signal": min((own.mean() - mean) / mean, 1000.0) if mean > 0 else 1000.0,
    }


def binned(values: NDArray[Any], bins: int) -> NDArray[np.int64]:
    """The number of the bin of each value, bins with about equal counts."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def entropy(values: NDArray[np.int64]) -> float:
    """Of non-negative numbers, in bits."""
    share = np.bincount(values) / len(values)
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


def landmarkers(x: NDArray[np.float64], data: Tabular, seed: int) -> dict[str, float]:
    """How well simple learners do in cross-validation: accuracy less that of the largest class, or R² from -1."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import Ridge
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if data.classes is not None:
        learners = {
            "neighbor": KNeighborsClassifier(1),
            "stump": DecisionTreeClassifier(max_depth=1, random_state=0),
            "tree": DecisionTreeClassifier(max_depth=5, random_state=0),
            "linear": LinearDiscriminantAnalysis(),
            "bayes": GaussianNB(),
        }
        floor = np.bincount(data.y).max() / len(data.y)
    else:
        learners = {
            "neighbor": KNeighborsRegressor(1),
            "stump": DecisionTreeRegressor(max_depth=1, random_state=0),
            "tree": DecisionTreeRegressor(max_depth=5, random_state=0),
            "linear": Ridge(),
            "bayes": KNeighborsRegressor(10),
        }
        floor = 0.0
    return {f"landmark_{name}": _landmark(learner, x, data, seed) - floor for name, learner in learners.items()}


def _landmark(learner: Any, x: NDArray[np.float64], data: Tabular, seed: int) -> float:
    scores = []
    for train, val in splits(data, _FOLDS, seed):
        try:
            scores.append(learner.fit(x[train], data.y[train]).score(x[val], data.y[val]))
        except ValueError:  # one class in a fold, or fewer rows than neighbors
            scores.append(0.0)
    return max(float(np.mean(scores)), -1.0)
