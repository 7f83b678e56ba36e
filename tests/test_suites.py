"""Runs that are tested on several data sets: the figures, whose they are, and what is refused."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metarun.report.command import main as report

Command = Callable[..., tuple[int, str, str]]

WAVES = (
    "dataset=sinusoid", "model=mlp", "model.hidden=[8]", "algorithm.inner_lr=0.01", "engine.steps=4",
    "engine.meta_batch_size=2", "engine.val_every=2", "engine.val_episodes=4", "engine.test_episodes=6",
    "engine.checkpoint_every=2", "engine.log_every=2", "device.name=cpu", "device.threads=1", "device.compile=false",
    "tracking=scalars",
)  # fmt: skip
LETTERS = ("dataset=glyphs", "model.channels=4", "model.layers=3", *WAVES[4:])
LOUD = ("+dataset@test_dataset.loud=sinusoid", "test_dataset.loud.amplitude=[5,9]", "test_dataset.loud.shots=7")


def ran(command: Command, folder: str, *overrides: str) -> tuple[dict[str, Any], str]:
    """The result of a run, and what it printed."""
    code, out, err = command(*overrides, f"hydra.run.dir={folder}")
    assert code == 0, err
    content: dict[str, Any] = json.loads(Path(folder, "result.json").read_text())
    return content, out + err


def told(content: dict[str, Any]) -> dict[str, Any]:
    """What a result says of its meta-test."""
    return {name: content[name] for name in ("meta_test", "baselines")}


def test_further_results_equal_separate_tests(command: Command) -> None:
    content, said = ran(command, "run", *WAVES, "test_dataset=[harmonics]", *LOUD)
    alone, _ = ran(command, "bare", *WAVES)
    assert told(content) == told(alone)
    assert content["meta_val"] == alone["meta_val"]
    others = {
        "harmonics": ("dataset=harmonics", "dataset.shots=10"),
        "loud": ("dataset.amplitude=[5,9]", "dataset.shots=7"),
    }
    assert content["test_datasets"].keys() == others.keys()
    for name, overrides in others.items():
        other, _ = ran(command, name, "mode=test", "checkpoint=run", "test_dataset=[]", *overrides)
        block = content["test_datasets"][name]
        assert told(block) == told(other)
        assert block["same_source"] is other["train"]["same_source"] is False
        shared = block["protocol"].keys() & other["protocol"].keys() - {"selection"}
        assert {key: block["protocol"][key] for key in shared} == {key: other["protocol"][key] for key in shared}
        assert Path("run", f"episodes-{name}.csv").read_text() == Path(name, "episodes.csv").read_text()
    lines = said.splitlines()
    assert "meta-test   6 episodes of harmonics, test_dataset.harmonics" in lines
    assert "meta-test   6 episodes of sinusoid, test_dataset.loud" in lines
    assert sum(line.startswith("baselines ") for line in lines) == 3


def test_checkpoint_restores_test_data_sets_unless_overridden(command: Command) -> None:
    first, _ = ran(command, "run", *WAVES, "test_dataset=[harmonics]", *LOUD)
    again, _ = ran(command, "again", "mode=test", "checkpoint=run")
    assert {name: told(block) for name, block in again["test_datasets"].items()} == {
        name: told(block) for name, block in first["test_datasets"].items()
    }
    other, _ = ran(command, "other", "mode=test", "checkpoint=run", "test_dataset=[polynomials]")
    assert list(other["test_datasets"]) == ["polynomials"]
    named, _ = ran(command, "named", "mode=test", "checkpoint=run", *LOUD)
    assert list(named["test_datasets"]) == ["loud"]
    none, _ = ran(command, "none", "mode=test", "checkpoint=run", "test_dataset=[]")
    assert "test_datasets" not in none
    assert {told["meta_test"]["dataset"] for told in (first, again, other, named, none)} == {"sinusoid"}


def test_resumed_run_is_tested_on_further_data(command: Command) -> None:
    ran(command, "run", *WAVES, *LOUD)
    assert command("resume=run", "engine.steps=6")[0] == 0
    resumed = json.loads(Path("run/result.json").read_text())
    again, _ = ran(command, "again", "mode=test", "checkpoint=run")
    assert resumed["train"]["steps"] == 6
    assert told(resumed["test_datasets"]["loud"]) == told(again["test_datasets"]["loud"])


def test_a_hypernetwork_makes_the_start_of_their_tasks(command: Command) -> None:
    generated = ("hypernet=film", "hypernet.hidden=[6]", "embedding=support", "embedding.size=4")
    content, _ = ran(command, "run", *WAVES, *generated, "test_dataset=[harmonics]")
    alone = ("mode=test", "checkpoint=run", "dataset=harmonics", "dataset.shots=10", "test_dataset=[]")
    assert told(content["test_datasets"]["harmonics"]) == told(ran(command, "alone", *alone)[0])


def test_the_number_of_inner_steps_is_chosen_on_the_runs_own_meta_val(command: Command) -> None:
    content, _ = ran(command, "run", *WAVES, "algorithm.test_steps=best", *LOUD)
    steps = f"algorithm.test_steps={content['test_steps']['chosen']}"
    loud = ("dataset.amplitude=[5,9]", "dataset.shots=7", "test_dataset=[]")
    other, _ = ran(command, "alone", "mode=test", "checkpoint=run", steps, *loud)
    assert told(content["test_datasets"]["loud"]) == told(other)


def test_classes_of_another_alphabet_and_shape(command: Command) -> None:
    three = ("algorithm=protonet", "dataset.ways=3", "dataset.queries=2")
    more = ("test_dataset=[glyphs]", "test_dataset.glyphs.shots=3", "test_dataset.glyphs.ways=5")
    content, _ = ran(command, "run", *LETTERS, *three, *more)
    block = content["test_datasets"]["glyphs"]
    assert (block["protocol"]["ways"], block["protocol"]["shots"], block["protocol"]["queries"]) == (5, 3, 2)
    assert block["same_source"] is True
    assert content["protocol"]["ways"] == 3
    with Path("run/episodes-glyphs.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {len(row["classes"].split()) for row in rows} == {5}


def test_tensorboard_has_a_tag_for_each(command: Command) -> None:
    shown = ("tracking.text=true", "tracking.hparams=true")
    content, _ = ran(command, "run", *WAVES, *LOUD, *shown)
    events, test = EventAccumulator("run").Reload(), content["test_datasets"]["loud"]
    mse = test["meta_test"]["metrics"]["mse"]["mean"]
    for tag in ("meta-test loud/mse", "final/mse meta-test loud"):
        assert events.Scalars(tag)[0].value == pytest.approx(mse)
    ridge = test["baselines"]["methods"]["ridge"]["mean"]
    assert events.Scalars("baselines/ridge mse meta-test loud")[0].value == pytest.approx(ridge)
    text = events.Tensors("result/text_summary")[0].tensor_proto.string_val[0].decode()
    assert text.count("| meta-test | sinusoid |") == 2
    assert "Baselines on loud: " in text


def test_the_report_compares_runs_on_the_same_data(command: Command, capfd: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        ran(command, f"runs/away-{seed}", *WAVES, f"seed={seed}", "test_dataset=[harmonics]")
    ran(command, "runs/bare", *WAVES, "seed=2")
    ran(command, "runs/home", *WAVES, "dataset=harmonics")
    capfd.readouterr()
    assert report(["runs", "--csv=table.csv"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert [line.partition(" · ")[0] for line in out.splitlines() if " · " in line] == ["sinusoid", "harmonics"]
    with Path("table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["seeds"] for row in rows) == ["0", "0 1", "0 1 2"]
    (away,) = (row for row in rows if row["trained on"] == "sinusoid")
    assert (away["seeds"], away["meta_val"]) == ("0 1", "")
    means = [
        json.loads(Path(f"runs/away-{seed}/result.json").read_text())["test_datasets"]["harmonics"]["meta_test"]
        for seed in (0, 1)
    ]
    mean = sum(test["metrics"]["mse"]["mean"] for test in means) / 2
    assert float(away["meta_test"]) == pytest.approx(mean)


def test_info_lists_further_data(command: Command) -> None:
    code, out, err = command("mode=info", *WAVES, *LOUD)
    assert (code, err) == (0, "")
    (line,) = (line for line in out.splitlines() if line.startswith("  meta-test loud"))
    assert line.split()[2:6] == ["[7,1]", "[7,1]", "[10,1]", "[10,1]"]
    assert "  episodes-loud.csv" in out
    assert "tested on sinusoid · 7-shot" in out
    assert "tested on" not in command("mode=info", *WAVES)[1]
    code, _, err = command("mode=info", "test_dataset=[omniglot]", "test_dataset.omniglot.download=true")
    assert code == 2
    assert err.startswith(
        "metarun: mode=info downloads nothing, and some data are not there yet: test_dataset.omniglot"
    )


REFUSED = {
    "the same test": (
        [*WAVES, "test_dataset=[sinusoid]"],
        "test_dataset.sinusoid: the run is already tested on it; leave it out",
    ),
    "other classes": (
        [*LETTERS, "test_dataset=[glyphs]", "test_dataset.glyphs.ways=3"],
        "test_dataset.glyphs: its tasks have 3 classes, and the run trains on tasks of 5 (glyphs); set test_dataset.",
    ),
    "too few images": (
        [*LETTERS, "test_dataset=[glyphs]", "test_dataset.glyphs.queries=300"],
        "test_dataset.glyphs.shots=1 and test_dataset.glyphs.queries=300 need 301 images of a class",
    ),
    "files that are not there": (
        [*LETTERS, "test_dataset=[omniglot]", "test_dataset.omniglot.root=nowhere"],
        "test_dataset.omniglot: no Omniglot under 'nowhere'; set test_dataset.omniglot.root to the folder",
    ),
    "an override that is not last": (
        [*WAVES, "experiment=early", "--config-dir=my"],
        "test_dataset: in the defaults of a YAML file, lines that begin with 'override' come after all others",
    ),
    "a plain list in a file": (
        [*WAVES, "experiment=listed", "--config-dir=my"],
        "test_dataset=[harmonics]: data sets are expected; on the command line test_dataset=[omniglot,glyphs]",
    ),
}


@pytest.mark.parametrize(("overrides", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_tested_on_is_refused_before_training(
    command: Command, overrides: list[str], expected: str
) -> None:
    Path("my/experiment").mkdir(parents=True)
    Path("my/experiment/listed.yaml").write_text("# @package _global_\ntest_dataset: [harmonics]\n")
    early = "defaults:\n  - override /test_dataset: [harmonics]\n  - /dataset@test_dataset.loud: sinusoid\n"
    Path("my/experiment/early.yaml").write_text(f"# @package _global_\n{early}")
    code, _, err = command(*overrides, "hydra.run.dir=run")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"metarun: {expected}")
    assert not Path("run").exists()


def test_inputs_of_another_shape_are_refused(command: Command) -> None:
    for name, columns in (("one", ("a", "b")), ("two", ("a", "b", "c"))):
        rows = [
            f"{task},{x}," + ",".join(str(x * place) for place in range(len(columns)))
            for task in "abcdef"
            for x in range(8)
        ]
        Path(f"{name}.csv").write_text("\n".join([",".join(("task", "target", *columns)), *rows]))
    table = ("dataset=table", "dataset.path=one.csv", *WAVES[1:])
    code, _, err = command(*table, "test_dataset=[table]", "test_dataset.table.path=two.csv", "hydra.run.dir=run")
    assert (code, err.count("\n")) == (2, 1)
    assert (
        "test_dataset.table: its tasks have inputs of shape [3], and what is trained takes [2] (table (one.csv))" in err
    )
    assert not Path("run").exists()
    divided = ("test_dataset=[table]", "test_dataset.table.path=one.csv", "test_dataset.table.split=rows")
    code, _, err = command(*table, *divided)
    assert code == 2
    assert "test_dataset.table: these are the data of training, and what was trained on may be in its meta-test" in err
    assert "split is rows here and tasks in training" in err


def test_sweep_skips_jobs_that_cannot_be_tested(command: Command) -> None:
    known = ("hypernet=film", "hypernet.hidden=[6]", "embedding=learned", "dataset.tasks=5")
    tests = ("test_dataset=[harmonics]", "test_dataset.harmonics.tasks=null,9")
    code, out, err = command("-m", *WAVES, *known, *tests, "sweep.invalid=skip", "hydra.sweep.dir=sweep")
    assert (code, err) == (0, "")
    assert "left out    1 of 2 jobs" in out
    assert "test_dataset.harmonics: has 9 known tasks, and the run trains on 5 (sinusoid)" in out
    (folder,) = (path.parent for path in Path("sweep").glob("*/result.json"))
    assert "harmonics" in json.loads((folder / "result.json").read_text())["test_datasets"]
