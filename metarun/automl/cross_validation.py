"""How well a configuration does on a data set, by cross-validation."""

import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarun.automl.columns import preprocessor
from metarun.automl.models import CLASSIFICATION, REGRESSION
from metarun.automl.spaces import built
from metarun.automl.tabular import Tabular
from metarun.core.counters import key
from metarun.datasets.score_tables.space import Values
from metarun.datasets.score_tables.table import Direction

METRICS: dict[str, dict[str, Direction]] = {
    CLASSIFICATION: {"accuracy": "maximize", "precision": "maximize", "recall": "maximize", "f1": "maximize"},
    REGRESSION: {"r2": "maximize", "mse": "minimize"},
}
"""By kind of target; precision, recall and F1 are means over classes (macro). The first is the default."""

_SCIKIT_LEARN = (
    *("compose", "ensemble", "impute", "linear_model", "metrics", "model_selection"),
    *("neighbors", "neural_network", "pipeline", "preprocessing", "svm"),
)


@dataclass(frozen=True)
class Evaluation:
    """scores: means over the folds. predictions: of each row by the model that did not see it: class probabilities
    ``[n, classes]``, or numbers ``[n]``. seconds, cpu: elapsed and processor time."""

    scores: Mapping[str, float]
    predictions: NDArray[np.float64]
    seconds: float
    cpu: float


def pipeline(data: Tabular, values: Values, seed: int) -> Any:
    """The preprocessing for the data's columns and the model of a configuration, not fitted yet.

    Targets of a regression are standardized for the model.
    """
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = built(values, data.kind, seed)
    if data.kind == REGRESSION:
        model = TransformedTargetRegressor(model, transformer=StandardScaler())
    return make_pipeline(preprocessor(data.columns), model)


def fitted(made: Any, data: Tabular) -> Any:
    """The pipeline, fitted to all rows. Raises what scikit-learn raises."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of an iteration limit, which the score shows
        warnings.filterwarnings("ignore", "Found unknown categories")
        return made.fit(data.x, data.y)


def predicted(made: Any, x: Any, classes: int | None) -> NDArray[np.float64]:
    """Class probabilities ``[n, classes]`` of a fitted pipeline, or numbers ``[n]`` where ``classes`` is None.

    A model without probabilities gives the softmax of its decision function; classes that it did not see have 0.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found unknown categories")
        if classes is None:
            return np.asarray(made.predict(x), np.float64)
        if hasattr(made, "predict_proba"):
            values = made.predict_proba(x)
        else:
            decision = made.decision_function(x)
            decision = np.stack([-decision / 2, decision / 2], 1) if decision.ndim == 1 else decision
            values = np.exp(decision - decision.max(1, keepdims=True))
            values /= values.sum(1, keepdims=True)
    found = np.zeros((len(values), classes))
    found[:, made.classes_] = values
    return found


def scored(y: NDArray[Any], predictions: NDArray[np.float64], kind: str) -> dict[str, float]:
    """The metrics of predictions in the form of `predicted`."""
    from sklearn import metrics

    if kind == REGRESSION:
        return {
            "r2": float(metrics.r2_score(y, predictions)),
            "mse": float(metrics.mean_squared_error(y, predictions)),
        }
    chosen = predictions.argmax(1)
    several = metrics.precision_recall_fscore_support(y, chosen, average="macro", zero_division=0)
    named = dict(zip(("precision", "recall", "f1"), map(float, several[:3]), strict=True))
    return {"accuracy": float(metrics.accuracy_score(y, chosen)), **named}


def splits(data: Tabular, folds: int, seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Training and validation rows of each fold, classes in equal shares where all have enough rows."""
    from sklearn.model_selection import KFold, StratifiedKFold

    stratify = data.classes is not None and np.bincount(data.y).max() >= folds
    kind = StratifiedKFold if stratify else KFold
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")
        state = key(seed, "automl", "folds") % 2**32
        yield from kind(folds, shuffle=True, random_state=state).split(np.zeros((len(data.y), 1)), data.y)


def cross_validated(data: Tabular, values: Values, folds: int, seed: int) -> Evaluation:
    """Evaluate a configuration; the folds depend on the data and the seed alone. Raises what scikit-learn raises."""
    begun, cpu = time.perf_counter(), time.process_time()
    classes = None if data.classes is None else len(data.classes)
    predictions = np.zeros(len(data.y) if classes is None else (len(data.y), classes))
    each = []
    with one_thread():
        for train, val in splits(data, folds, seed):
            made = fitted(pipeline(data, values, seed), data.rows(train))
            predictions[val] = predicted(made, data.x[val], classes)
            if not np.isfinite(predictions[val]).all():
                raise ValueError("predictions are not finite")
            each.append(scored(data.y[val], predictions[val], data.kind))
    scores = {name: float(np.mean([one[name] for one in each])) for name in METRICS[data.kind]}
    return Evaluation(scores, predictions, time.perf_counter() - begun, time.process_time() - cpu)


def import_scikit_learn() -> None:
    """Import everything that an evaluation uses."""
    for name in _SCIKIT_LEARN:
        import_module(f"sklearn.{name}")


def one_thread() -> Any:
    """A context in which numerical libraries use one thread: several small fits at once are faster that way."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


def subsample(data: Tabular, rows: int, seed: int) -> Tabular:
    """At most this many rows, at random, classes in about equal shares as in all."""
    if len(data.y) <= rows:
        return data
    order = np.random.default_rng(key(seed, "automl", "rows")).permutation(len(data.y))
    if data.classes is not None:
        # Every k-th row of the rows ordered by class; at random within a class.
        order = order[np.argsort(data.y[order], kind="stable")]
        order = order[np.linspace(0, len(order) - 1, rows).round().astype(np.int64)]
    return data.rows(np.sort(order[:rows]))
