"""Configuration spaces: inferred, and checked."""

import json
import sys
from typing import Any

import ConfigSpace
import pytest
import tuning

from metarun.core.errors import UserError
from metarun.datasets.score_tables import space as spaces


def test_kinds_ranges_and_scales_are_inferred() -> None:
    known: list[dict[str, Any]] = [
        {"algorithm": "a", "a:n": 3, "a:rate": 0.001, "same": "x"},
        {"algorithm": "a", "a:n": 7, "a:rate": 0.5, "same": "x"},
        {"algorithm": "b", "b:kind": "one", "b:share": 0.5, "same": "x"},
        {"algorithm": "b", "b:kind": "two", "b:share": 0.9, "same": "x"},
    ]
    found = spaces.inferred(known, "algorithm")
    assert (found["a:n"].lower, found["a:n"].upper, found["a:n"].log) == (3, 7, False)
    assert isinstance(found["a:n"], ConfigSpace.hyperparameters.IntegerHyperparameter)
    assert (found["a:rate"].lower, found["a:rate"].upper, found["a:rate"].log) == (0.001, 0.5, True)
    assert (found["b:share"].lower, found["b:share"].log) == (0.5, False)
    assert found["b:kind"].choices == ("one", "two")
    assert found["same"].value == "x"
    assert set(found.conditional_hyperparameters) == {"a:n", "a:rate", "b:kind", "b:share"}
    for values in known:
        assert dict(ConfigSpace.Configuration(found, values=values)) == values


def test_without_a_parent_nothing_is_conditional() -> None:
    found = spaces.inferred([{"x": 1.0}, {"x": 2.0}])
    assert list(found.conditional_hyperparameters) == []


def test_json_comes_back() -> None:
    content = json.loads(json.dumps(tuning.space().to_serialized_dict()))
    assert spaces.from_json(content, "file") == tuning.space()


@pytest.mark.parametrize(
    "content", [{}, {"hyperparameters": [{"type": "os.system", "name": "x"}]}, {"hyperparameters": 3}]
)
def test_another_space_is_one_line(content: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^file: 'space' is not a ConfigSpace space: .") as caught:
        spaces.from_json(content, "file")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"algorithm": "svm", "svm:C": 1000.0},
        {"algorithm": "svm"},
        {"algorithm": "svm", "svm:C": 1.0, "knn:k": 3},
        {"algorithm": "tree"},
        {"algorithm": "knn", "knn:k": 1.5},
    ],
)
def test_illegal_configurations_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^file: configuration 'c7': .") as caught:
        spaces.check(tuning.space(), "c7", values, "file")
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ConfigSpace", None)
    with pytest.raises(UserError, match=r"needs ConfigSpace, which is not installed: pip install 'metarun\[hpo\]'"):
        spaces.inferred([{"x": 1}])
