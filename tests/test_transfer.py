"""A checkpoint tested on other data than it was trained on: what is built for which, and what every figure names."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

from metarun.report.command import main as report

Command = Callable[..., tuple[int, str, str]]

ENGINE = (
    "engine.steps=4", "engine.meta_batch_size=2", "engine.val_every=2", "engine.val_episodes=4",
    "engine.test_episodes=6", "engine.checkpoint_every=4", "engine.log_every=2",
    "device.name=cpu", "device.threads=1", "device.compile=false", "tracking=scalars",
)  # fmt: skip
GLYPHS = (
    "dataset=glyphs", "dataset.ways=3", "dataset.queries=2", "model.channels=4", "model.layers=3",
    "model.normalization=running", *ENGINE,
)  # fmt: skip
PICTURES = ("dataset=image_folder", "dataset.root=animals", "dataset.size=28", "dataset.channels=1")
SHAPE = ("dataset.ways=3", "dataset.shots=1", "dataset.queries=2")


@pytest.fixture
def animals(command: Command) -> Path:
    """A folder of noise, of 4 classes for each split: many fewer than glyphs has."""
    noise = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for name in "abcd":
            folder = Path("animals", split, f"{split}-{name}")
            folder.mkdir(parents=True)
            for number in range(4):
                Image.fromarray(noise.integers(0, 256, (28, 28), np.uint8)).save(folder / f"{number}.png")
    return Path("animals")


def ran(command: Command, folder: str, *overrides: str) -> tuple[dict[str, Any], str]:
    """The result of a run, and what it printed."""
    code, out, err = command(*overrides, f"hydra.run.dir={folder}")
    assert code == 0, err
    content: dict[str, Any] = json.loads(Path(folder, "result.json").read_text())
    return content, out + err


@pytest.mark.parametrize("algorithm", ["finetune", "maml", "protonet", "matching"])
def test_on_another_data_set(command: Command, animals: Path, algorithm: str) -> None:
    """Whatever its training classes: fine-tuning has a head over 589 of them, and there are 4 here."""
    trained, _ = ran(command, "trained", *GLYPHS, f"algorithm={algorithm}")
    tested, said = ran(command, "tested", "mode=test", "checkpoint=trained", *PICTURES, *SHAPE)
    assert (
        trained["meta_test"]["dataset"] == trained["meta_train"]["dataset"] == trained["train"]["dataset"] == "glyphs"
    )
    assert trained["train"]["same_source"] is True
    for block in ("meta_test", "meta_val"):
        assert tested[block]["dataset"] == "image_folder (animals)"
    assert tested["train"]["dataset"] == "glyphs"
    assert tested["train"]["source"]["split"] == "by script"
    assert tested["train"]["same_source"] is False
    assert tested.keys().isdisjoint({"meta_train", "gap"})
    assert "6 episodes of 4 classes of image_folder (animals), checkpoint of step" in said
    assert "trained on glyphs, inductive" in said
    assert "gap" not in said


def test_tensorboard_names_both_data_sets(command: Command, animals: Path) -> None:
    ran(command, "trained", *GLYPHS)
    shown = ("tracking.text=true", "tracking.hparams=true")
    tested, _ = ran(command, "tested", "mode=test", "checkpoint=trained", *PICTURES, *SHAPE, *shown)
    events = EventAccumulator("tested").Reload()
    text = events.Tensors("result/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| meta-test | image_folder (animals) |" in text
    assert f"Trained on glyphs for {tested['train']['steps']} meta-updates." in text
    start = parse_session_start_info_plugin_data(
        events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    )
    assert start.hparams["trained on"].string_value == "glyphs"
    assert start.hparams["dataset"].string_value == "image_folder"


def test_on_its_own_data_with_other_episodes_there_is_a_gap(command: Command) -> None:
    ran(command, "trained", *GLYPHS)
    tested, said = ran(command, "tested", "mode=test", "checkpoint=trained", "dataset.shots=2", "dataset.queries=3")
    assert tested["train"]["same_source"] is True
    assert tested["gap"].keys() == tested["meta_test"]["metrics"].keys()
    assert tested["meta_train"]["dataset"] == "glyphs"
    assert "gap to meta-train" in said


def test_other_settings_of_one_data_set_are_other_data(command: Command) -> None:
    waves = ("dataset=sinusoid", "model=mlp", "model.hidden=[8]", "algorithm.inner_lr=0.01", *ENGINE)
    ran(command, "trained", *waves)
    tested, said = ran(command, "tested", "mode=test", "checkpoint=trained", "dataset.amplitude=[5,9]")
    assert tested["train"]["same_source"] is False
    assert "gap" not in tested
    assert "trained on sinusoid with other settings" in said


def test_a_table_is_known_by_its_content(command: Command) -> None:
    for name, factor in (("one.csv", 1), ("two.csv", 2)):
        rows = [f"{task},{x},{factor * number * x}" for number, task in enumerate("abcdef") for x in range(8)]
        Path(name).write_text("\n".join(["task,x,target", *rows]))
    table = ("dataset=table", "dataset.path=one.csv", "dataset.split=rows", "model=mlp", "model.hidden=[6]")
    ran(command, "trained", *table, "algorithm.inner_lr=0.01", *ENGINE)
    Path("moved").mkdir()
    Path("moved/one.csv").write_text(Path("one.csv").read_text())
    same, _ = ran(command, "same", "mode=test", "checkpoint=trained", "dataset.path=moved/one.csv")
    other, _ = ran(command, "other", "mode=test", "checkpoint=trained", "dataset.path=two.csv")
    assert same["train"]["same_source"] is True
    assert same["meta_test"]["dataset"] == "table (one.csv)"
    assert other["train"]["same_source"] is False
    assert (other["meta_test"]["dataset"], other["train"]["dataset"]) == ("table (two.csv)", "table (one.csv)")


def test_joint_training_on_another_data_set(command: Command) -> None:
    ran(command, "trained", "algorithm=joint", "dataset=sinusoid", "model=mlp", "model.hidden=[8]", *ENGINE)
    tested, _ = ran(command, "tested", "mode=test", "checkpoint=trained", "dataset=harmonics")
    assert (tested["meta_test"]["dataset"], tested["train"]["dataset"]) == ("harmonics", "sinusoid")


def test_learned_table_fits_new_tasks(command: Command) -> None:
    known = ("dataset=sinusoid", "dataset.tasks=5", "embedding=learned", "hypernet=film", "algorithm.inner_lr=0.01")
    ran(command, "trained", *known, "model=mlp", "model.hidden=[8]", *ENGINE)
    tested, _ = ran(command, "tested", "mode=test", "checkpoint=trained", "dataset=harmonics")
    assert tested["meta_test"]["dataset"] == "harmonics"
    code, _, err = command("mode=test", "checkpoint=trained", "dataset=harmonics", "dataset.tasks=9")
    assert (code, err.count("\n")) == (2, 1)
    assert "has 9 known tasks, and the checkpoint was trained on 5 (sinusoid), of which it has embeddings" in err


def test_tasks_of_another_shape(command: Command, animals: Path) -> None:
    ran(command, "trained", *GLYPHS)
    for overrides, message in (
        (
            (*PICTURES, *SHAPE, "dataset.ways=2"),
            "tasks have 2 classes, and the checkpoint was trained on tasks of 3 (glyphs); set dataset.ways=3",
        ),
        (("dataset=sinusoid",), "its tasks are regression, and the checkpoint was trained on classification (glyphs)"),
    ):
        code, _, err = command("mode=test", "checkpoint=trained", *overrides, "hydra.run.dir=refused")
        assert (code, err.count("\n")) == (2, 1)
        assert message in err
        assert not Path("refused").exists()


def test_ways_do_not_matter_to_an_algorithm_without_a_head(command: Command, animals: Path) -> None:
    ran(command, "trained", *GLYPHS, "algorithm=protonet", "dataset.train_ways=7")
    tested, _ = ran(command, "tested", "mode=test", "checkpoint=trained", *PICTURES, *SHAPE, "dataset.ways=4")
    assert tested["protocol"]["ways"] == 4


def test_report_separates_models_by_training_data(
    command: Command, animals: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The same algorithm and seed, tested on the same tasks."""
    ran(command, "runs/transferred-from", *GLYPHS)
    ran(command, "runs/at-home", *GLYPHS, *PICTURES, *SHAPE)
    ran(command, "runs/transferred", "mode=test", "checkpoint=runs/transferred-from", *PICTURES, *SHAPE)
    capfd.readouterr()
    assert report(["runs/at-home", "runs/transferred", "--csv=table.csv"]) == 0
    out, err = capfd.readouterr()
    assert "left out" not in err
    assert "trained on" in out
    header, *rows = Path("table.csv").read_text().splitlines()
    place = header.split(",").index("trained on")
    assert sorted(row.split(",")[place] for row in rows) == ["", "glyphs"]


@pytest.mark.parametrize("typed", [(), ("algorithm=cnp",)], ids=["maml", "cnp"])
def test_a_checkpoint_keeps_its_likelihood(command: Command, typed: tuple[str, ...]) -> None:
    """Also where the defaults would choose another: squared for MAML's."""
    waves = ("dataset=sinusoid", "model=mlp", "model.hidden=[8]", "likelihood=gaussian", *typed, *ENGINE)
    trained, _ = ran(command, "trained", *waves)
    tested, _ = ran(command, "tested", "mode=test", "checkpoint=trained")
    assert tested["metric"] == "nll"
    assert tested["meta_test"] == trained["meta_test"]
    code, _, err = command("mode=test", "checkpoint=trained", "likelihood=squared", "hydra.run.dir=other")
    assert (code, err.count("\n")) == (2, 1)
    assert "likelihood=squared: the checkpoint was trained on likelihood=gaussian (sinusoid)" in err
    code, _, err = command("resume=trained", "engine.steps=8")
    assert code == 0, err
    longer = json.loads(Path("trained/result.json").read_text())
    assert (longer["metric"], longer["train"]["steps"]) == ("nll", 8)
