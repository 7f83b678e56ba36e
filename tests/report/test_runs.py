"""Run folders in every state."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from run_folders import config, result, write_run

from metarun.core.errors import UserError
from metarun.report.command import main
from metarun.report.runs import Unreadable, flat, folders, on_further_data, read
from metarun.report.statistics import Estimate
from metarun.runs.files import LAST


def test_a_finished_run(tmp_path: Path) -> None:
    outcome = result(0.8, 0.9, adaptation=[0.2, 0.8], pooled={"explained_variance": 0.4})
    run = read(write_run(tmp_path / "a", {"algorithm.outer.lr": 0.1, "seed": 3}, outcome))
    assert run is not None
    assert (run.status, run.seed, run.metric) == ("done", 3, "accuracy")
    assert run.settings["algorithm"] == "maml"
    assert run.settings["algorithm.outer.lr"] == 0.1
    assert run.metrics == ["accuracy", "loss", "explained_variance"]
    assert run.figure("meta_test", "accuracy") == Estimate(0.8, 0.01)
    assert run.figure("meta_test", "explained_variance") == Estimate(0.4, None)
    assert run.figure("meta_val", "explained_variance") is None
    assert run.adaptation("accuracy") == [Estimate(0.2, 0.01), Estimate(0.8, 0.01)]
    assert run.training("tasks_per_second") == 412.3


def with_tests(**blocks: Any) -> dict[str, Any]:
    """A result with figures of further data sets."""
    return result(test_datasets=blocks)


def block(accuracy: float = 0.7, **changes: Any) -> dict[str, Any]:
    """What a result holds of a further data set."""
    own = result(accuracy)
    return {"meta_test": {**own["meta_test"], "dataset": "omniglot"}, "same_source": False, **changes}


FAR = {"test_dataset": {"far": {"_target_": "metarun.datasets.omniglot.OmniglotConfig", "ways": 5, "shots": 2}}}


def test_run_on_further_data(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", {}, with_tests(far=block(0.7, protocol={"split_seed": 3})))
    saved = config(FAR)
    saved["choices"]["dataset@test_dataset.far"] = "omniglot"
    (folder / "config.yaml").write_text(json.dumps(saved), encoding="utf-8")
    run = read(folder)
    assert run is not None
    (far,) = on_further_data(run)
    assert far.further == "far"
    assert (far.settings["dataset"], far.settings["dataset.shots"]) == ("omniglot", 2)
    assert not any(key in far.settings for key in ("dataset.queries", "test_dataset.far", "test_dataset.far.shots"))
    assert far.settings["algorithm"] == run.settings["algorithm"]
    assert far.settings["trained on"] == "glyphs"
    assert far.figure("meta_test", "accuracy") == Estimate(0.7, 0.01)
    assert far.figure("meta_val", "accuracy") is None
    assert far.split_seed == 3
    assert on_further_data(far) == []
    assert run.figure("meta_test", "accuracy") == Estimate(0.9, 0.01)


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        (3, "its test_datasets is not what metarun writes"),
        ({"far": 3}, "its test_datasets.far is not what metarun writes"),
        ({"far": {**block(), "same_source": None}}, "its test_datasets.far is not what metarun writes"),
        ({"far": block(protocol=3)}, "the protocol of test_datasets.far is not what metarun writes"),
        ({"far": block(meta_test={})}, "test_datasets.far does not name its dataset and metrics"),
        (
            {"far": block(meta_test={"dataset": "x", "metrics": {"loss": {}}})},
            "test_datasets.far has other metrics than the run",
        ),
        (
            {"far": block(meta_test={"dataset": "x", "metrics": {"accuracy": {}, "other": {}}})},
            "test_datasets.far has other metrics than the run",
        ),
    ],
)
def test_broken_figures_of_further_data_are_refused(tmp_path: Path, blocks: Any, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        read(write_run(tmp_path / "a", outcome=result(test_datasets=blocks)))


def test_a_result_without_directions_is_refused(tmp_path: Path) -> None:
    outcome = result()
    del outcome["higher_is_better"]
    with pytest.raises(Unreadable, match="does not say whether higher is better of accuracy"):
        read(write_run(tmp_path / "unknown", outcome=outcome))


def test_older_result_names_the_command_for_a_new_one(tmp_path: Path) -> None:
    outcome = result(meta_test={"accuracy": {"mean": 0.9, "ci95": 0.1, "episodes": 5}})
    with pytest.raises(Unreadable, match="if an older version wrote it, test again with mode=test checkpoint=RUN"):
        read(write_run(tmp_path / "old", outcome=outcome))


def test_a_run_tested_on_other_data_names_its_training_data(tmp_path: Path) -> None:
    facts = result()["train"] | {"same_source": False}
    run = read(write_run(tmp_path / "a", outcome=result(train={**facts, "dataset": "omniglot"})))
    assert run is not None
    assert run.settings["trained on"] == "omniglot"
    run = read(write_run(tmp_path / "b", outcome=result(train=facts)))
    assert run is not None
    assert run.settings["trained on"] == "glyphs with other settings"
    run = read(write_run(tmp_path / "c", outcome=result()))
    assert run is not None
    assert "trained on" not in run.settings


def test_non_finite_values_are_none(tmp_path: Path) -> None:
    run = read(write_run(tmp_path / "a", outcome=result(None, 0.9, half=None)))
    assert run is not None
    assert run.figure("meta_test", "accuracy") is None
    assert run.figure("meta_val", "accuracy") == Estimate(0.9, None)


def test_folders_are_found_at_any_depth_and_links_are_not_followed(tmp_path: Path) -> None:
    for name in ("b", "a/deep/er", ".hidden", "b/checkpoints"):
        write_run(tmp_path / name)
    (tmp_path / "latest").symlink_to(tmp_path / "b")
    assert [path for path in folders(tmp_path) if read(path)] == [tmp_path / "a/deep/er", tmp_path / "b"]


def test_a_folder_of_something_else_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    assert read(tmp_path) is None


def test_job_that_failed_without_settings(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", status="failed", reason="no\nOmniglot  there")
    (folder / "config.yaml").unlink()
    run = read(folder)
    assert run is not None
    assert (run.status, run.reason, dict(run.settings)) == ("failed", "no Omniglot there", {})


def damage(name: str, text: str | bytes | None) -> Callable[[Path], object]:
    if text is None:
        return lambda folder: (folder / name).unlink()
    data = text.encode() if isinstance(text, str) else text
    return lambda folder: (folder / name).write_bytes(data)


def changed(**facts: Any) -> str:
    return json.dumps({**result(), **facts})


def curves(adaptation: dict[str, Any]) -> str:
    return changed(meta_test={**result()["meta_test"], "adaptation": adaptation})


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (damage("result.json", None), "it has no result.json"),
        (damage("result.json", ""), "result.json is broken"),
        (damage("result.json", json.dumps(result())[:200]), "result.json is broken"),
        (damage("result.json", "[" * 100_000), "result.json is broken"),
        (damage("result.json", b"\xff\xfe"), "not text"),
        (damage("result.json", "[]"), "not what metarun writes"),
        (damage("result.json", "{}"), "no figures of meta_test"),
        (damage("result.json", changed(metric="other")), "does not say its metric"),
        (damage("result.json", changed(metric=["a"])), "does not say its metric"),
        (damage("result.json", changed(higher_is_better=[])), "does not say whether higher is better of accuracy"),
        (damage("result.json", changed(higher_is_better={"accuracy": 1})), "whether higher is better of accuracy"),
        (damage("result.json", changed(higher_is_better={"accuracy": None})), "whether higher is better of accuracy"),
        (damage("result.json", changed(meta_val={"accuracy": 0.9})), "meta_val does not name its dataset"),
        (damage("result.json", changed(meta_val={"dataset": "a", "metrics": {"b": 1}})), "no figures of meta_val"),
        (damage("result.json", changed(train=[1])), "its train is not"),
        (damage("result.json", changed(train={})), "its train does not name"),
        (damage("result.json", curves({"accuracy": 1})), "its adaptation is not"),
        (damage("result.json", curves({"accuracy": {"mean": 1}})), "its adaptation is not"),
        (damage("config.yaml", None), "it has no config.yaml"),
        (damage("config.yaml", "a: [1"), "config.yaml is broken"),
        (damage("config.yaml", "!!python/object/apply:os.system ['true']"), "config.yaml is broken"),
        (damage("config.yaml", ""), "not the configuration of a metarun run"),
        (damage("config.yaml", "model: resnet"), "not the configuration of a metarun run"),
        (damage("status.json", None), "no status.json"),
        (damage("status.json", "{}"), "says no state"),
        (damage("status.json", '{"status": ["done"]}'), "says no state"),
        (damage("status.json", '{"status": "do'), "status.json is broken"),
    ],
)
def test_broken_runs_are_reported(tmp_path: Path, harm: Callable[[Path], object], told: str) -> None:
    folder = write_run(tmp_path / "a")
    harm(folder)
    with pytest.raises(Unreadable, match=told):
        read(folder)


def test_folders_of_runs_that_did_not_start(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="empty"):
        read(tmp_path)
    (tmp_path / "metarun.log").touch()
    with pytest.raises(Unreadable, match="ended before it began"):
        read(tmp_path)


def test_the_last_sign_is_the_newest_file(tmp_path: Path) -> None:
    run = read(write_run(tmp_path / "a", status="running"))
    assert run is not None
    assert run.last_sign() is None
    assert not run.can_resume()
    (run.folder / "checkpoints").mkdir()
    for name, time in (("metarun.log", 100), ("events.out.tfevents.1", 300), (LAST, 200)):
        (run.folder / name).touch()
        os.utime(run.folder / name, (time, time))
    assert run.last_sign() == datetime.fromtimestamp(300, UTC)
    assert run.can_resume()


def test_options_and_keys_have_different_names() -> None:
    found = flat(config({"algorithm": "anil"}))
    assert found["algorithm"] == "anil"
    assert found["algorithm.outer.slow.ratio"] == 1.0
    assert "choices.algorithm" not in found


junk = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({}), st.just([{}])
)


def replaced(value: Any, place: int, new: Any) -> tuple[Any, int]:
    """``value`` with its node number ``place`` (depth first) replaced; and the number of nodes seen."""
    if place == 0:
        return new, 1
    seen = 1
    if isinstance(value, dict | list):
        copy: Any = value.copy()
        for key in value if isinstance(value, dict) else range(len(value)):
            if seen <= place:
                copy[key], more = replaced(value[key], place - seen, new)
                seen += more
        return copy, seen
    return value, seen


@given(st.integers(0, 10**4), junk, st.sampled_from(["result.json", "status.json", "config.yaml"]))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_nothing_in_a_folder_makes_a_report_fail(tmp_path: Path, place: int, new: Any, name: str) -> None:
    """Any node of any file replaced by anything: the other run is told all the same."""
    folder = write_run(tmp_path / "a", outcome=result(adaptation=[0.1, 0.2]))
    write_run(tmp_path / "b", {"seed": 1})
    contents = {"result.json": result(adaptation=[0.1, 0.2]), "status.json": {"status": "done", "time": "x"}}
    content = contents.get(name, config())
    nodes = replaced(content, 10**6, None)[1]
    (folder / name).write_text(json.dumps(replaced(content, place % nodes, new)[0]), encoding="utf-8")
    files = [f"--{kind}={tmp_path / kind}" for kind in ("csv", "markdown", "latex")]
    assert main([str(tmp_path), *files]) == 0


def test_a_metric_with_neither_direction_compares_nothing(tmp_path: Path) -> None:
    outcome = result()
    outcome["higher_is_better"]["loss"] = None
    run = read(write_run(tmp_path / "a", {}, outcome))
    assert run is not None
    with pytest.raises(UserError, match="--metric loss: neither more nor less of it is better; choose another"):
        run.higher_is_better("loss")
