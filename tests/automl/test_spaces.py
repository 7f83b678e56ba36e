"""The spaces of the base models, and the configurations drawn from them."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris

from metarun.automl.models import MODELS, chosen
from metarun.automl.spaces import MODEL, built, joint_space, pool, space_of
from metarun.datasets.score_tables.encoding import encoded
from metarun.datasets.score_tables.space import check

NAMED = {"gamma_value": "gamma"}


@pytest.mark.parametrize("name", MODELS)
def test_the_default_is_scikit_learns(name: str) -> None:
    """But for what the space adds or fixes: trees have 100 members, boosting no early stopping."""
    for kind in MODELS[name].kinds:
        made = pool([MODELS[name]], 1)
        estimator = built(made.configurations[0], kind, 0)
        usual = type(estimator)()
        for key, value in estimator.get_params().items():
            if key in ("random_state", "max_iter", "early_stopping", "kernel", "hidden_layer_sizes"):
                continue
            if kind == "regression" and key == "max_features":  # a forest's default differs between the two
                continue
            if key == "l2_regularization":
                assert value < 1e-5
                continue
            assert value == usual.get_params()[key], (name, key)


@pytest.mark.parametrize("name", MODELS)
def test_each_configuration_is_legal_and_fits(name: str) -> None:
    made = pool([MODELS[name]], 5)
    assert len(made.identifiers) == 5
    assert len({repr(sorted(values.items())) for values in made.configurations}) == 5
    for values in made.configurations:
        check(made.space, name, values, "space")
    for kind in MODELS[name].kinds:
        x, y = (load_iris if kind == "classification" else load_diabetes)(return_X_y=True)
        estimator = clone(built(made.configurations[-1], kind, 0))
        assert np.isfinite(estimator.fit(x[::5] / x.std(), y[::5]).predict(x)).all()


def test_a_larger_pool_begins_with_the_smaller() -> None:
    models = chosen(None, "classification", "models")
    few, many = pool(models, 2), pool(models, 4)
    known = dict(zip(many.identifiers, many.configurations, strict=True))
    assert len(few.identifiers) == 2 * len(models)
    for identifier, values in zip(few.identifiers, few.configurations, strict=True):
        assert known[identifier] == values


def test_hyperparameters_are_active_with_their_model_only() -> None:
    models = [MODELS["svm_rbf"], MODELS["k_nearest_neighbors"]]
    space = joint_space(models)
    values = {MODEL: "svm_rbf", "svm_rbf:C": 1.0, "svm_rbf:gamma": "value", "svm_rbf:gamma_value": 0.1}
    x, names = encoded(space, [values, pool([models[1]], 1).configurations[0]])
    place = {name: x[:, column] for column, name in enumerate(names)}
    assert place["svm_rbf:gamma_value.active"].tolist() == [1, 0]
    assert place["k_nearest_neighbors:p=2"].tolist() == [0, 1]
    assert built(values, "classification", 0).get_params()["gamma"] == 0.1


def test_every_model_has_a_space_and_every_space_a_model() -> None:
    for name in MODELS:
        assert len(space_of(name)) > 0
