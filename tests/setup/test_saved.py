"""A saved configuration comes back through Hydra as it was."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from metarun.config.compose import parse
from metarun.config.groups import PARTS
from metarun.config.quoting import command_line, quoted
from metarun.core import tensor_file
from metarun.core.errors import UserError
from metarun.runs.files import BEST, LAST, checkpoint_files
from metarun.setup.saved import as_overrides, with_saved_run


def configuration() -> dict[str, Any]:
    sections: dict[str, Any] = {name: {"_target_": "os.system", "size": 3, "inner": {"rate": 1e-05}} for name in PARTS}
    return {
        **sections,
        "seed": 7,
        "likelihood": "categorical",
        "mode": "train",
        "choices": dict.fromkeys(PARTS, "some"),
    }


def save(folder: Path, config: Any) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / LAST).touch()
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return folder


def expanded(*overrides: str) -> list[str]:
    return with_saved_run(overrides, parse(overrides), sweep=False)


@given(st.text(st.sampled_from("\\${}a'\":.oc") | st.characters()).filter(lambda text: text != "???"))
@example("\\${oc.env:HOME}")
@example("\\\\${oc.env:HOME}")
@example("a\\")
@example("${")
def test_any_text_survives_hydra_and_omegaconf(text: str) -> None:
    parsed = OverridesParser.create().parse_override(f"dataset.root={quoted(text)}")
    assert OmegaConf.create({"root": parsed.value()}).root == text


def test_a_saved_file_does_not_turn_on_a_download(tmp_path: Path) -> None:
    saved = configuration()
    saved["dataset"]["download"] = True
    run = save(tmp_path / "run", saved)
    assert "dataset.download=false" in expanded(f"resume={run}")
    assert expanded(f"resume={run}", "dataset.download=true").count("dataset.download=true") == 1


def with_tests(**nodes: Any) -> dict[str, Any]:
    """A configuration with further data sets to test on, each of the option ``some``."""
    saved = configuration()
    saved["choices"] |= {f"dataset@test_dataset.{name}": "some" for name in nodes}
    return {**saved, "test_dataset": {name: {"_target_": "os.system", **node} for name, node in nodes.items()}}


def test_further_data_sets_are_restored_unless_overridden(tmp_path: Path) -> None:
    run = save(tmp_path / "run", with_tests(far={"shots": 3}, near={"x": [1, 2]}))
    wanted = ["+dataset@test_dataset.far=some", "test_dataset.far.shots=3"]
    wanted += ["+dataset@test_dataset.near=some", "test_dataset.near.x=[1,2]"]
    for path in (f"resume={run}", f"checkpoint={run}"):
        assert [text for text in expanded(path) if "test_dataset" in text] == wanted
    for typed in ("test_dataset=[a]", "test_dataset=[]", "+dataset@test_dataset.other=a"):
        found = expanded(f"checkpoint={run}", typed)
        assert [text for text in found if "test_dataset" in text] == [typed]
        assert "dataset=some" in found, "the run's own stays"
    assert expanded(f"checkpoint={run}", "test_dataset.far.shots=5")[-1] == "test_dataset.far.shots=5"
    with pytest.raises(UserError, match=r"only engine.steps may be given \(not test_dataset\)"):
        expanded(f"resume={run}", "test_dataset=[a]")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"test_dataset": [1]}, "its test_dataset is not a mapping"),
        ({"test_dataset": {"far": 3}}, "it has no test_dataset.far"),
        ({"test_dataset": {"_target_": {}}}, "'_target_' is not a key"),
        ({"test_dataset": {"near": {"shots": 3}}}, "it has no test_dataset.near"),
        ({"test_dataset": {"far": {"a": {"_target_": "os.system", "_args_": ["ls"]}}}}, "'_args_' is not a key"),
    ],
)
def test_broken_further_data_sets_are_refused(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    saved = with_tests(far={})
    run = save(tmp_path / "run", {**saved, **change})
    with pytest.raises(UserError, match=expected):
        expanded(f"resume={run}")


def test_a_saved_file_does_not_turn_on_a_download_of_further_data(tmp_path: Path) -> None:
    run = save(tmp_path / "run", with_tests(far={"download": True}))
    assert "test_dataset.far.download=false" in expanded(f"resume={run}")
    assert expanded(f"resume={run}", "test_dataset.far.download=true")[-2] == "test_dataset.far.download=true"


def test_python_needs_no_data_to_test_on(tmp_path: Path) -> None:
    found = as_overrides(with_tests(far={}), "x", None, tests=False)
    assert not any("test_dataset" in text for text in found)


def test_saved_hydra_key_is_refused(tmp_path: Path) -> None:
    saved = configuration()
    saved["dataset"]["columns"] = [{"_target_": "os.system"}]
    with pytest.raises(UserError, match="'_target_' is not a key"):
        expanded(f"resume={save(tmp_path / 'run', saved)}")


def test_options_and_values_come_first_and_classes_never(tmp_path: Path) -> None:
    run = save(tmp_path / "run", configuration())
    texts = expanded("mode=test", f"checkpoint={run}", "dataset.size=4")
    assert texts[-3:] == ["mode=test", f"checkpoint={run}", "dataset.size=4"]
    assert texts[:3] == ["dataset=some", "dataset.size=3", "dataset.inner.rate=1e-05"]
    assert {"seed=7", f"likelihood={quoted('categorical')}"} <= set(texts)
    assert not any("_target_" in text or "os.system" in text for text in texts)


def test_newly_chosen_group_has_no_saved_values(tmp_path: Path) -> None:
    run = save(tmp_path / "run", configuration())
    texts = expanded("mode=test", f"checkpoint={run}", "dataset=other")
    assert [text for text in texts if text.startswith("dataset")] == ["dataset=other"]
    assert "model.size=3" in texts


def test_resume_goes_into_the_runs_own_folder(tmp_path: Path) -> None:
    run = save(tmp_path / "run", configuration())
    assert expanded(f"resume={run}", "engine.steps=9")[-3:] == [
        f"resume={run}",
        "engine.steps=9",
        f"hydra.run.dir='{run}'",
    ]


@pytest.mark.parametrize(("saved", "kept"), [("optimize", ["mode=optimize"]), ("train", []), ("test", []), ("x", [])])
def test_a_run_resumes_in_its_mode(tmp_path: Path, saved: str, kept: list[str]) -> None:
    run = save(tmp_path / "run", configuration() | {"mode": saved})
    assert [text for text in expanded(f"resume={run}") if text.startswith("mode=")] == kept
    # What is typed comes last, and so it counts.
    assert expanded(f"resume={run}", "mode=info")[-2] == "mode=info"


def test_former_values_are_replaced(tmp_path: Path) -> None:
    saved = configuration()
    saved["engine"] |= {"task_chunk": None, "gradient_clip": None}
    run = save(tmp_path / "run", saved)
    for words in ([f"resume={run}"], ["mode=test", f"checkpoint={run}"]):
        texts = expanded(*words)
        assert "engine.task_chunk='auto'" in texts
        assert "engine.gradient_clip=null" in texts
    saved["engine"]["task_chunk"] = 4
    assert "engine.task_chunk=4" in expanded(f"resume={save(tmp_path / 'other', saved)}")


def test_renamed_keys_are_replaced(tmp_path: Path) -> None:
    saved = configuration()
    saved["tracking"]["share"] = 0.25
    run = save(tmp_path / "run", saved)
    for words in ([f"resume={run}"], ["mode=test", f"checkpoint={run}"]):
        texts = expanded(*words)
        assert "tracking.time_share=0.25" in texts
        assert not any(text.startswith("tracking.share=") for text in texts)


def test_run_without_a_newer_group_is_accepted(tmp_path: Path) -> None:
    saved = configuration()
    del saved["tracking"], saved["choices"]["tracking"]
    texts = expanded(f"resume={save(tmp_path / 'run', saved)}")
    assert "engine=some" in texts
    assert not any(text.startswith("tracking") for text in texts)


def test_without_a_saved_run_nothing_changes() -> None:
    assert expanded("dataset.shots=5", "checkpoint=null") == ["dataset.shots=5", "checkpoint=null"]


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ("a: [", "config.yaml: cannot be read: "),
        ("just text", "config.yaml: not the configuration of a metarun run"),
        (
            yaml.safe_dump({"choices": {"dataset": "a"}}),
            "not the configuration of a run of this version of metarun: it has no dataset",
        ),
        (yaml.safe_dump({**configuration(), "dataset": {"a=b,c": 1}}), "'a=b,c' is not a key"),
        (yaml.safe_dump({**configuration(), "choices": dict.fromkeys(PARTS, "a,b")}), "it has no dataset"),
        ("!!python/object/apply:os.system ['true']", "cannot be read: could not determine a constructor"),
    ],
)
def test_a_broken_saved_configuration_is_refused(tmp_path: Path, broken: str, expected: str) -> None:
    run = save(tmp_path / "run", None)
    (run / "config.yaml").write_text(broken, encoding="utf-8")
    with pytest.raises(UserError, match=expected.replace("[", "\\[")):
        expanded(f"resume={run}")


def test_a_folder_means_its_best_checkpoint_then_its_last(tmp_path: Path) -> None:
    run = save(tmp_path / "run", configuration())
    last, best = run / LAST, run / BEST
    assert checkpoint_files(str(run)) == [last]
    best.touch()
    assert checkpoint_files(str(run)) == [best, last]
    assert checkpoint_files(str(last)) == [last]
    with pytest.raises(UserError, match="not a run's folder"):
        checkpoint_files(str(tmp_path))


def test_a_lone_checkpoint_brings_its_configuration(tmp_path: Path) -> None:
    tensor_file.write(tmp_path / "alone.safetensors", {"config": configuration()})
    assert "dataset.size=3" in expanded("mode=test", f"checkpoint={tmp_path / 'alone.safetensors'}")


def test_resume_command_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command_line({}, "mode=test", "checkpoint=a b") == "metarun mode=test 'checkpoint=a b'"
    assert command_line({"config_dir": str(tmp_path / "conf")}, "resume=run") == "metarun --config-dir conf resume=run"
    assert command_line({"config_dir": "/my conf"}, "resume=run") == "metarun --config-dir '/my conf' resume=run"


def test_options_of_the_users_need_their_folder_again(tmp_path: Path) -> None:
    choices = {**dict.fromkeys(PARTS, "none"), "dataset": "tides"}
    run = save(tmp_path / "run", {**configuration(), "choices": choices, "config_dir": "/my/conf"})
    words = [f"checkpoint={run}", "mode=test"]
    with pytest.raises(UserError, match=r"dataset=tides is not metarun's but of the folder /my/conf; give that again"):
        expanded(*words)
    # Not where the user chooses another, or says where they are.
    others = [f"{name}=other" for name in PARTS]
    assert with_saved_run([*words, *others], parse([*words, *others]), sweep=False)
    assert with_saved_run(words, parse(words), "/my/conf", sweep=False)[0] == "dataset=tides"


@pytest.mark.parametrize("names", [("last",), ("last", "best")], ids=str)
def test_a_run_of_an_older_version_is_refused_in_one_line(tmp_path: Path, names: tuple[str, ...]) -> None:
    run = save(tmp_path / "run", configuration())
    (run / LAST).unlink()
    for name in names:
        (run / "checkpoints" / f"{name}.pt").touch()
    said = "its checkpoints are from an older version of metarun, which this version does not read; train again"
    for words in ([f"resume={run}"], ["mode=test", f"checkpoint={run}"]):
        with pytest.raises(UserError) as caught:
            expanded(*words)
        assert str(caught.value) == f"{words[-1]}: {said}"


def test_the_configuration_in_a_damaged_checkpoint_is_taken_from_the_other(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for file in (BEST, LAST):
        tensor_file.write(tmp_path / file, {"config": configuration()})
    (tmp_path / BEST).write_bytes(b"rubbish")
    assert "dataset.size=3" in expanded("mode=test", f"checkpoint={tmp_path}")
    (tmp_path / LAST).write_bytes(b"rubbish")
    with pytest.raises(UserError, match="not a checkpoint of metarun, or a damaged one"):
        expanded("mode=test", f"checkpoint={tmp_path}")
