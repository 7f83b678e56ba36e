"""Configurations as vectors."""

import ConfigSpace
import numpy as np
import pytest
import tuning

from metarun.datasets.score_tables.encoding import encoded


def test_every_kind_of_hyperparameter() -> None:
    values, names = encoded(
        tuning.space(),
        [
            {"algorithm": "svm", "svm:C": 0.01},
            {"algorithm": "svm", "svm:C": 10.0},
            {"algorithm": "knn", "knn:k": 1},
            {"algorithm": "knn", "knn:k": 7},
        ],
    )
    found = dict(zip(names, values.T.tolist(), strict=True))
    assert found.keys() == {
        *("algorithm=svm", "algorithm=knn", "svm:C", "svm:C.active", "knn:k", "knn:k.active"),
    }
    assert found["algorithm=svm"] == [1, 1, 0, 0]
    assert found["algorithm=knn"] == [0, 0, 1, 1]
    # log10 from -2 to 2 becomes -1 to 1.
    assert found["svm:C"] == pytest.approx([-1, 0.5, 0, 0])
    assert found["svm:C.active"] == [1, 1, 0, 0]
    # 1 to 9 becomes -1 to 1.
    assert found["knn:k"] == pytest.approx([0, 0, -1, 0.5])
    assert found["knn:k.active"] == [0, 0, 1, 1]


def test_ordinals_constants_and_conditional_categories() -> None:
    space = ConfigSpace.ConfigurationSpace()
    size = ConfigSpace.OrdinalHyperparameter("size", ["s", "m", "l"])
    kind = ConfigSpace.Categorical("kind", ["x", "y"])
    space.add(size, kind, ConfigSpace.Constant("fixed", 3))
    space.add(ConfigSpace.EqualsCondition(kind, size, "l"))
    known = [{"size": "s", "fixed": 3}, {"size": "m", "fixed": 3}, {"size": "l", "fixed": 3, "kind": "y"}]
    values, names = encoded(space, known)
    found = dict(zip(names, values.T.tolist(), strict=True))
    assert found == {"size": [-1, 0, 1], "kind=x": [0, 0, 0], "kind=y": [0, 0, 1]}


def test_configurations_differ_by_their_vectors() -> None:
    known = tuning.configurations()
    values, _ = encoded(tuning.space(), known)
    assert len(np.unique(values, axis=0)) == len(known)
    assert np.abs(values).max() <= 1
