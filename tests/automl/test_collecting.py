"""``mode=collect``: cells, what is kept of them when the process is killed, and the table that comes of them."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metarun.automl import collecting
from metarun.automl.collecting import collect
from metarun.automl.cross_validation import splits
from metarun.automl.limited import TIMEOUT, Outcome
from metarun.automl.tabular import of_arrays
from metarun.core.errors import UserError
from metarun.datasets.score_tables import tidy
from metarun.hpo.collect_settings import CollectSettings

Command = Callable[..., tuple[int, str, str]]

FAST = {
    "kind": "classification",
    "models": ["k_nearest_neighbors", "svm_linear"],
    "configurations": 2,
    "bundled": True,
    "variants": 1,
    "synthetic": 2,
    "tables": [],
    "exclude": ["digits", "breast_cancer"],
    "rows": 150,
    "folds": 2,
    "seconds": 20.0,
    "jobs": 1,
}


def settings(folder: Path, **changes: Any) -> CollectSettings:
    return CollectSettings(path=str(folder), **{**FAST, **changes})


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "cells.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_cell_is_what_scikit_learn_finds(tmp_path: Path) -> None:
    table = collect(settings(tmp_path, models=["k_nearest_neighbors"]), 0)
    x, y = load_iris(return_X_y=True)
    folds = list(splits(of_arrays(x, y, "classification"), 2, 0))
    assert all(np.bincount(y[val]).tolist() == [25, 25, 25] for _, val in folds)
    own = table.configurations[1]
    model = KNeighborsClassifier(
        own["k_nearest_neighbors:n_neighbors"],
        weights=own["k_nearest_neighbors:weights"],
        p=own["k_nearest_neighbors:p"],
    )
    names = {"accuracy": "accuracy", "precision": "precision_macro", "recall": "recall_macro", "f1": "f1_macro"}
    expected = cross_validate(make_pipeline(StandardScaler(), model), x, y, cv=folds, scoring=list(names.values()))
    task = table.tasks.index("iris")
    for name, other in names.items():
        np.testing.assert_allclose(table.scores[name][task, 1], expected[f"test_{other}"].mean(), rtol=1e-5)


def test_the_table_is_read_as_it_was_written_and_siblings_share_a_group(tmp_path: Path) -> None:
    table = collect(settings(tmp_path), 0)
    assert tidy.read(str(tmp_path)).fingerprint == table.fingerprint
    assert table.tasks[:4] == ("iris", "iris.columns-0", "wine", "wine.columns-0")
    first = table.groups[:4].tolist()
    assert first[0] == first[1] != first[2] == first[3]
    assert len(set(table.groups.tolist())) == 4
    assert table.features.shape == (6, len(table.feature_names))
    assert (table.seconds > 0).all()  # type: ignore[operator]


def test_more_configurations_and_tasks_only_add_cells(tmp_path: Path) -> None:
    collect(settings(tmp_path), 0)
    before = (tmp_path / "cells.jsonl").read_bytes()
    table = collect(settings(tmp_path, configurations=3, synthetic=3), 0)
    after = (tmp_path / "cells.jsonl").read_bytes()
    assert after.startswith(before)
    assert len(lines(tmp_path)) == len(table.tasks) * len(table.identifiers) == 7 * 6


def test_three_kills_lose_no_cell_and_repeat_none(tmp_path: Path) -> None:
    """Each process is killed by SIGKILL once it has added some cells; the last one ends the collection."""
    file = tmp_path / "cells.jsonl"
    code = (
        "import sys; from pathlib import Path; from metarun.automl.collecting import collect;"
        "from metarun.hpo.collect_settings import CollectSettings;"
        f"collect(CollectSettings(path=sys.argv[1], **{ {**FAST, 'configurations': 4} }), 0)"
    )
    known = b""
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
        while not (file.is_file() and file.read_bytes().count(b"\n") >= known.count(b"\n") + 5):
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        content = file.read_bytes()
        assert content.startswith(known)
        known = content[: content.rfind(b"\n") + 1]
    table = collect(settings(tmp_path, configurations=4), 0)
    cells = [(each["task"], each["configuration"]) for each in lines(tmp_path)]
    assert file.read_bytes().startswith(known)
    assert len(known.splitlines()) < len(cells)
    assert sorted(cells) == sorted((task, name) for task in table.tasks for name in table.identifiers)
    whole = collect(settings(tmp_path / "whole", configurations=4), 0)
    for name in table.scores:
        np.testing.assert_array_equal(table.scores[name], whole.scores[name])


def test_a_failure_and_a_timeout_are_recorded_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = collecting.cross_validated

    def broken(data: Any, values: Any, *others: Any) -> Any:
        if values["model"] == "svm_linear":
            raise ValueError("no\nsuch kernel")
        return original(data, values, *others)

    monkeypatch.setattr(collecting, "cross_validated", broken)
    table = collect(settings(tmp_path / "failed"), 0)
    svm = [each for each in lines(tmp_path / "failed") if each["configuration"].startswith("svm")]
    assert {(each["status"], each["error"], each["seconds"]) for each in svm} == {
        ("failed", "ValueError: no such kernel", None)
    }
    np.testing.assert_array_equal(table.failed, [[False, False, True, True]] * 6)
    assert np.isnan(table.scores["accuracy"][:, 2:]).all()
    assert tidy.read(str(tmp_path / "failed")).fingerprint == table.fingerprint
    cell = collecting.as_cell("iris", "svm_linear-0", Outcome(TIMEOUT, None, "took longer than 1 s"))
    assert (cell.status, cell.scores, cell.seconds) == ("timeout", {}, None)


def test_regression_has_its_own_metrics(tmp_path: Path) -> None:
    table = collect(settings(tmp_path, kind="regression", models=["ridge"], exclude=[], synthetic=5), 0)
    assert dict(table.directions) == {"r2": "maximize", "mse": "minimize"}
    assert table.tasks[:2] == ("diabetes", "diabetes.columns-0")
    assert np.isfinite(table.scores["mse"]).all()


@pytest.mark.slow
def test_several_at_once_find_the_same(tmp_path: Path) -> None:
    one = collect(settings(tmp_path / "one", variants=0, synthetic=0), 0)
    two = collect(settings(tmp_path / "two", variants=0, synthetic=0, jobs=2), 0)
    assert one.tasks == two.tasks
    for name in one.scores:
        np.testing.assert_array_equal(one.scores[name], two.scores[name])


def test_a_users_tables_are_tasks(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        rows = ["height,color,kind"]
        for _ in range(60):
            kind = random.integers(2)
            color = ["red", "blue", ""][random.integers(3)]
            rows.append(f"{kind + random.normal():.3f},{color},{'xy'[kind]}")
        (tmp_path / f"{name}.csv").write_text("\n".join(rows), encoding="utf-8")
    given = [f"{tmp_path}/a.csv:kind:mine", f"{tmp_path}/b.csv:kind:mine"]
    table = collect(settings(tmp_path / "table", bundled=False, exclude=[], synthetic=0, tables=given), 0)
    assert table.tasks == ("a", "b")
    assert table.groups.tolist() == [0, 0]
    assert not table.failed.any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ["svm_rfb"]}, "collect.models: no model 'svm_rfb' for classification; did you mean 'svm_rbf'?"),
        ({"models": ["ridge"]}, "collect.models: no model 'ridge' for classification"),
        ({"models": []}, "collect.models=[]: name at least one model, or null for all"),
        ({"exclude": ["wines"]}, "collect.exclude: no data set 'wines'; did you mean 'wine'?"),
        ({"bundled": False}, "collect.exclude: only with collect.bundled=true"),
        ({"bundled": False, "exclude": [], "synthetic": 0}, "collect: no data sets"),
        ({"tables": ["a.csv"]}, "collect.tables: 'a.csv': FILE:TARGET is expected"),
        ({"tables": ["x/a.csv:y", "z/a.csv:y"]}, "collect.tables: 'z/a.csv:y' and 'x/a.csv:y' have the same name"),
        ({"tables": ["none.csv:y"]}, "none.csv"),
        ({"tables": ["iris.csv:y"]}, "collect.tables: there is a task 'iris' already"),
    ],
)
def test_what_cannot_be_collected_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        collect(settings(tmp_path / "table", **changes), 0)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "table").exists()


def test_a_folder_is_continued_only_as_it_was_begun(tmp_path: Path) -> None:
    small = {"models": ["k_nearest_neighbors"], "variants": 0, "synthetic": 1}
    collect(settings(tmp_path, **small), 0)
    with pytest.raises(UserError, match=r"collect\.folds=3: the table in .* was collected with collect\.folds=2"):
        collect(settings(tmp_path, **small, folds=3), 0)
    with pytest.raises(UserError, match=r"seed=1: the table in .* was collected with seed=0"):
        collect(settings(tmp_path, **small), 1)
    with pytest.raises(UserError, match=r"in use by another process"), collecting.held(tmp_path, wait=False):
        collect(settings(tmp_path, **small), 0)
    (tmp_path / "collection.json").write_text("[[", encoding="utf-8")
    with pytest.raises(UserError, match=r"collection\.json: cannot be read"):
        collect(settings(tmp_path, **small), 0)
    (tmp_path / "collection.json").unlink()
    with pytest.raises(UserError, match="has a table from elsewhere"):
        collect(settings(tmp_path, **small), 0)


def test_the_command(tmp_path: Path, command: Command) -> None:
    path = f"collect.path={tmp_path}"
    changes = ["collect.models=[ridge]", "collect.kind=regression", "collect.synthetic=2", "collect.variants=0"]
    code, out, err = command("mode=collect", path, *changes, "collect.jobs=1")
    assert (code, err) == (0, "")
    assert out == f"{tmp_path}: 3 data sets (3 groups) × 10 configurations, 0 of 30 evaluations failed\n"
    assert command("mode=collect")[2] == "metarun: collect.path: no folder given; write collect.path=FOLDER\n"
    assert command("mode=collect", path, "model=mlp")[2] == (
        "metarun: model: not read with mode=collect, which reads collect, seed\n"
    )
    assert command("collect.rows=100")[2] == "metarun: collect.rows: is for mode=collect, not mode=train\n"
