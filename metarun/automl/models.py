"""The base models: scikit-learn estimators, each with a space of configurations (``spaces/NAME.yaml``)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from metarun.core.errors import UserError
from metarun.core.names import listed, nearest
from metarun.datasets.score_tables.space import Values, missing_package

CLASSIFICATION, REGRESSION = "classification", "regression"
KINDS = (CLASSIFICATION, REGRESSION)


@dataclass(frozen=True)
class BaseModel:
    """A family of estimators.

    name: also of its space. kinds: ``classification``, ``regression`` or both. build: ``f(kind, values, seed)``
    returns an estimator that is not fitted yet, for numbers without gaps on a common scale. most_rows: the most rows
    that a final model is fitted on, because time grows faster than their number; None: any.
    """

    name: str
    build: Callable[[str, Values, int], Any]
    kinds: tuple[str, ...] = KINDS
    most_rows: int | None = None


def _k_nearest_neighbors(kind: str, values: Values, seed: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    return (KNeighborsClassifier if kind == CLASSIFICATION else KNeighborsRegressor)(**values)


def _logistic_regression(kind: str, values: Values, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    weights = {"none": None, "balanced": "balanced"}[values["class_weight"]]
    return LogisticRegression(C=values["C"], class_weight=weights, max_iter=1000)


def _ridge(kind: str, values: Values, seed: int) -> Any:
    from sklearn.linear_model import Ridge

    return Ridge(**values)


def _svm(kernel: str) -> Callable[[str, Values, int], Any]:
    def build(kind: str, values: Values, seed: int) -> Any:
        from sklearn.svm import SVC, SVR

        given = {"gamma" if name == "gamma_value" else name: value for name, value in values.items()}
        return (SVC if kind == CLASSIFICATION else SVR)(kernel=kernel, **given)

    return build


_SHARES = {"sqrt": "sqrt", "log2": "log2", "third": 1 / 3, "half": 0.5, "all": 1.0}
"""How many features a split of a tree chooses from."""


def _forest(extra: bool) -> Callable[[str, Values, int], Any]:
    def build(kind: str, values: Values, seed: int) -> Any:
        from sklearn import ensemble

        name = f"{'ExtraTrees' if extra else 'RandomForest'}{'Classifier' if kind == CLASSIFICATION else 'Regressor'}"
        given = {**values, "max_features": _SHARES[values["max_features"]]}
        return getattr(ensemble, name)(n_estimators=100, random_state=seed, **given)

    return build


def _gradient_boosting(kind: str, values: Values, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    made = HistGradientBoostingClassifier if kind == CLASSIFICATION else HistGradientBoostingRegressor
    return made(random_state=seed, early_stopping=False, **values)


def _mlp(kind: str, values: Values, seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    given = dict(values)
    hidden = (given.pop("width"),) * given.pop("layers")
    return (MLPClassifier if kind == CLASSIFICATION else MLPRegressor)(
        hidden_layer_sizes=hidden, random_state=seed, **given
    )


_ALL = (
    BaseModel("k_nearest_neighbors", _k_nearest_neighbors),
    BaseModel("logistic_regression", _logistic_regression, kinds=(CLASSIFICATION,)),
    BaseModel("ridge", _ridge, kinds=(REGRESSION,)),
    BaseModel("svm_linear", _svm("linear"), most_rows=10_000),
    BaseModel("svm_rbf", _svm("rbf"), most_rows=20_000),
    BaseModel("svm_poly", _svm("poly"), most_rows=10_000),
    BaseModel("random_forest", _forest(extra=False)),
    BaseModel("extra_trees", _forest(extra=True)),
    BaseModel("gradient_boosting", _gradient_boosting),
    BaseModel("mlp", _mlp),
)
MODELS = {model.name: model for model in _ALL}


def chosen(names: list[str] | None, kind: str, key: str) -> list[BaseModel]:
    """The base models of these names; None: all for this kind of target. Raises `UserError`; key: the setting."""
    possible = {model.name: model for model in _ALL if kind in model.kinds}
    if names is None:
        return list(possible.values())
    if not names:
        raise UserError(f"{key}=[]: name at least one model, or null for all")
    for place, name in enumerate(names):
        if name not in possible:
            raise UserError(
                f"{key}: no model '{name}' for {kind}{nearest(name, possible)} (models: {listed(possible)})"
            )
        if name in names[:place]:
            raise UserError(f"{key}: '{name}' is listed twice")
    return [possible[name] for name in names]


def refuse_without_scikit_learn() -> None:
    """Raise `UserError` if the packages of the extra ``hpo`` are not installed."""
    try:
        import joblib  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        raise missing_package(str(error.name), "training scikit-learn's models") from error
