"""Keys that are ``auto`` follow from the other parts chosen; what is typed stays."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from builders import ALGORITHMS

from metarun.config.compose import compose, plain

CLASSES = {"likelihood": "classification, dataset=glyphs"}
UNCLIPPED = {"engine.gradient_clip": "no preference"}
Command = Callable[..., tuple[int, str, str]]
TABLE = ("dataset.path=x.csv", "model=mlp")


def resolved(*overrides: str, config_dir: str | None = None) -> dict:
    config = compose(overrides, config_dir)
    return plain(config, config.hydra.runtime.choices)


@pytest.mark.parametrize(
    ("overrides", "value", "origin"),
    [
        ((), "batch", "no preference"),
        (("algorithm=r2d2",), "global", "algorithm=r2d2"),
        (("algorithm=r2d2", "engine.transductive=true"), "batch", "engine.transductive=true"),
        (("algorithm=r2d2", "model.normalization=auto"), "global", "algorithm=r2d2"),
        (("algorithm=r2d2", "model.normalization=group"), "group", None),
        (("algorithm=r2d2", "model.normalization=batch"), "batch", None),
        (("algorithm=r2d2", "dataset=sinusoid", "model=mlp"), "none", None),
        (("algorithm=r2d2", "model=mlp", "model.normalization=auto"), "global", "algorithm=r2d2"),
        (("experiment=maml_sinusoid",), "none", None),
    ],
)
def test_value_follows_from_the_algorithm_unless_set(
    overrides: tuple[str, ...], value: str, origin: str | None
) -> None:
    values = resolved(*overrides)
    assert values["model"]["normalization"] == value
    assert values.get("followed", {}).get("model.normalization") == origin
    assert not any("_prefers_" in node for node in values.values() if isinstance(node, dict))


@pytest.mark.parametrize(
    ("overrides", "tunes", "value", "origin"),
    [
        ((), "head", "global", "algorithm=finetune algorithm.tunes=head"),
        (("algorithm.tunes=head",), "head", "global", "algorithm=finetune algorithm.tunes=head"),
        (("algorithm.tunes=all",), "all", "batch", "no preference"),
        (
            ("algorithm.tunes=all", "algorithm.head=nearest_centroid"),
            "all", "global", "algorithm=finetune algorithm.head=nearest_centroid",
        ),
        (("dataset=sinusoid", "model=mlp", "model.normalization=auto"), "all", "batch", "no preference"),
        (("engine.transductive=true",), "head", "batch", "engine.transductive=true"),
    ],
)  # fmt: skip
def test_a_preference_may_have_a_condition_on_another_key(
    overrides: tuple[str, ...], tunes: str, value: str, origin: str
) -> None:
    values = resolved("algorithm=finetune", *overrides)
    assert values["algorithm"]["tunes"] == tunes
    assert values["model"]["normalization"] == value
    assert values["followed"]["model.normalization"] == origin


def test_experiment_overrides_preferences_and_typed_values_override_both(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /algorithm: r2d2\nmodel:\n  normalization: group\n"
    )
    assert resolved("experiment=mine", config_dir=str(tmp_path))["model"]["normalization"] == "group"
    typed = resolved("experiment=mine", "model.normalization=auto", config_dir=str(tmp_path))
    assert typed["model"]["normalization"] == "global"


def test_an_option_of_one_s_own_may_prefer(tmp_path: Path) -> None:
    (tmp_path / "algorithm").mkdir()
    (tmp_path / "algorithm" / "mine.yaml").write_text(
        "defaults:\n  - protonet\n  - _self_\n_prefers_:\n  model.normalization: group\n"
    )
    values = resolved("algorithm=mine", config_dir=str(tmp_path))
    assert values["model"]["normalization"] == "group"
    assert values["followed"] == {"model.normalization": "algorithm=mine", **UNCLIPPED, **CLASSES}


@pytest.mark.parametrize("hypernet", ["full", "lowrank"])
@pytest.mark.parametrize(("algorithm", "scale"), [("maml", 1.0), ("maml_pp", 0.1)])
def test_a_value_for_a_kind_may_depend_on_another_part(hypernet: str, algorithm: str, scale: float) -> None:
    made = (f"algorithm={algorithm}", f"hypernet={hypernet}", "embedding=support")
    values = resolved("dataset=sinusoid", "model=mlp", *made)
    assert values["hypernet"]["lr_scale"] == scale
    told = "regression, dataset=sinusoid" + (" algorithm=maml_pp" if algorithm == "maml_pp" else "")
    assert values["followed"]["hypernet.lr_scale"] == told
    assert resolved(*made)["hypernet"]["lr_scale"] == 0.1
    assert resolved(*TABLE, "dataset=table", *made)["hypernet"]["lr_scale"] == 0.1


def test_the_meta_gradient_of_maml_pp_is_clipped() -> None:
    """Without it one of three seeds on 5-shot sine waves ended in an infinite gradient."""
    assert resolved("algorithm=maml_pp")["engine"]["gradient_clip"] == 10
    assert resolved("algorithm=maml_pp", "engine.gradient_clip=null")["engine"]["gradient_clip"] is None
    assert resolved("algorithm=maml")["engine"]["gradient_clip"] is None


def test_value_and_origin_are_printed(command: Command) -> None:
    comment = "# model.normalization: global (auto: algorithm=r2d2)\n"
    code, out, _ = command("--cfg", "job", "algorithm=r2d2")
    assert code == 0
    assert yaml.safe_load(out)["model"]["normalization"] == "global"
    assert comment in out
    assert out.endswith("# likelihood: categorical (auto: classification, dataset=glyphs)\n")
    assert comment in command("--help", "algorithm=r2d2")[1]
    assert "# model.norm" not in command("--cfg", "job", "algorithm=r2d2", "model.normalization=group")[1]
    _, out, _ = command("mode=info", "algorithm=r2d2", "model.channels=4")
    assert re.search(r"model.normalization +global +auto: algorithm=r2d2", out)


def test_run_keeps_auto_values(command: Command) -> None:
    run = ("algorithm=matching", "model.channels=2", "debug=fast", "device.threads=1", "hydra.run.dir=run")
    code, _, err = command(*run)
    assert code == 0, err
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    assert config["model"]["normalization"] == "global"
    assert config["followed"] == {"model.normalization": "algorithm=matching", **UNCLIPPED, **CLASSES}
    code, _, err = command("mode=test", "checkpoint=run", "hydra.run.dir=test")
    assert code == 0, err
    assert yaml.safe_load(Path("test/config.yaml").read_text())["model"]["normalization"] == "global"


@pytest.mark.parametrize(
    ("overrides", "inner_lr", "origin"),
    [
        ((), 0.4, "classification, dataset=glyphs"),
        (("dataset=sinusoid", "model=mlp"), 0.01, "regression, dataset=sinusoid"),
        (("dataset=sinusoid", "model=mlp", "likelihood=gaussian"), 0.05, "likelihood=gaussian"),
        (("dataset=sinusoid", "algorithm=reptile", "likelihood=gaussian"), 0.01, "regression, dataset=sinusoid"),
        (("dataset=table", *TABLE, "dataset.kind=regression"), 0.01, "regression, dataset=table"),
        (("dataset=table", *TABLE, "dataset.kind=classification"), 0.4, "classification, dataset=table"),
        (("dataset=sinusoid", "algorithm.inner_lr=0.4"), 0.4, None),
        (("dataset=sinusoid", "algorithm=maml_pp"), 0.01, "regression, dataset=sinusoid"),
        (("algorithm=maml_pp",), 0.1, "classification, dataset=glyphs"),
        (("algorithm=reptile",), 0.001, "classification, dataset=glyphs"),
        (("dataset=sinusoid", "algorithm=meml"), 0.01, "regression, dataset=sinusoid"),
        (("experiment=maml_omniglot_5w1s", "dataset.root=x"), 0.4, None),
    ],
)
def test_step_sizes_follow_from_the_kind_of_task(
    overrides: tuple[str, ...], inner_lr: float, origin: str | None
) -> None:
    values = resolved(*overrides)
    assert values["algorithm"]["inner_lr"] == inner_lr
    assert values.get("followed", {}).get("algorithm.inner_lr") == origin
    assert not any(key in node for node in values.values() if isinstance(node, dict) for key in ("_by_kind_", "_kind_"))


@pytest.mark.parametrize(
    ("overrides", "steps", "origin"),
    [
        ((), 1, "no preference"),
        (("dataset=sinusoid", "model=mlp"), 1, "no preference"),
        (("dataset=table", *TABLE), 5, "dataset=table"),
        (("algorithm=cavia",), 2, "classification, dataset=glyphs"),
        (("algorithm=cavia", "algorithm.inner_steps=1"), 1, None),
        (("algorithm=cavia", "dataset=table", *TABLE), 5, "dataset=table"),
        (("dataset=table", *TABLE, "algorithm.inner_steps=2"), 2, None),
        (("dataset=table", *TABLE, "algorithm=fomaml"), 5, "dataset=table"),
        (("dataset=table", *TABLE, "algorithm=meta_sgd"), 1, None),
        (("dataset=table", *TABLE, "algorithm=finetune"), 20, None),
    ],
)
def test_the_number_of_inner_steps_follows_from_the_dataset(
    overrides: tuple[str, ...], steps: int, origin: str | None
) -> None:
    values = resolved(*overrides)
    assert values["algorithm"]["inner_steps"] == steps
    assert values.get("followed", {}).get("algorithm.inner_steps") == origin


def test_keys_of_a_part_of_an_algorithm_follow_too() -> None:
    for dataset, optimizer, size in (("glyphs", "adam", 5), ("sinusoid", "sgd", None)):
        reptile = resolved("algorithm=reptile", f"dataset={dataset}")["algorithm"]
        assert (reptile["inner_optimizer"]["name"], reptile["test_minibatch"]) == (optimizer, size)


@pytest.mark.parametrize(("hypernet", "scale"), [("full", 0.1), ("lowrank", 0.1), ("film", 1.0), ("chunked", 1.0)])
def test_the_scale_of_the_outer_step_size_of_hypernetworks_follows_from_the_kind_of_task(
    hypernet: str, scale: float
) -> None:
    parts = (f"hypernet={hypernet}", "embedding=support")
    assert resolved(*parts)["hypernet"]["lr_scale"] == scale
    assert resolved(*parts, "dataset=sinusoid", "model=mlp")["hypernet"]["lr_scale"] == 1.0


def test_the_head_of_metaopt_follows_from_the_kind_of_task() -> None:
    """A support vector machine has no targets, and a bare command need not say so."""
    for dataset, head in (("glyphs", "svm"), ("sinusoid", "ridge")):
        assert resolved("algorithm=metaopt", f"dataset={dataset}")["algorithm"]["head"] == head


def test_no_bare_command_leaves_a_value_to_be_chosen() -> None:
    """Whatever is ``auto`` in an algorithm has a value for each kind of task."""
    for algorithm in ALGORITHMS:
        for dataset in ("glyphs", "sinusoid"):
            values = resolved(f"algorithm={algorithm}", f"dataset={dataset}")
            assert "auto" not in str(values["algorithm"]), (algorithm, dataset)


def test_user_dataset_declares_its_kind(command: Command, tmp_path: Path) -> None:
    """Else defaults for classification would be used for its regression, and this must not pass unnoticed."""
    (tmp_path / "conf" / "dataset").mkdir(parents=True)
    file = tmp_path / "conf" / "dataset" / "mine.yaml"
    file.write_text("defaults:\n  - sinusoid\n  - _self_\n_kind_: classification\n")
    run = ("--config-dir", str(tmp_path / "conf"), "dataset=mine", "model=mlp", "debug=fast", "device.threads=1")
    code, _, err = command(*run)
    assert code == 2
    assert err.startswith(
        "metarun: dataset=mine: its tasks are regression, but defaults such as algorithm.inner_lr are for"
    )
    assert "add the line '_kind_: regression' to its YAML file" in err
    assert command(*run, "algorithm.inner_lr=0.01", "likelihood=squared")[0] == 0
    file.write_text("defaults:\n  - sinusoid\n  - _self_\n_kind_: regression\n")
    assert command(*run, "hydra.run.dir=other")[0] == 0


def test_a_further_data_set_has_episodes_like_the_runs_own_unless_typed() -> None:
    values = resolved("dataset.shots=5", "test_dataset=[omniglot]", "test_dataset.omniglot.queries=3")
    found = values["test_dataset"]["omniglot"]
    assert (found["ways"], found["shots"], found["queries"]) == (5, 5, 3)
    assert values["followed"]["test_dataset.omniglot.shots"] == "dataset.shots"
    assert "test_dataset.omniglot.queries" not in values["followed"]
    assert "_kind_" not in found
    named = resolved("dataset.shots=5", "+dataset@test_dataset.far=glyphs")["test_dataset"]["far"]
    assert named["shots"] == 1


def test_missing_episode_shape_is_requested(command: Command) -> None:
    code, out, err = command(
        "dataset=table", *TABLE, "dataset.kind=classification", "test_dataset=[glyphs]", "hydra.run.dir=run"
    )
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("metarun: test_dataset.glyphs.ways=auto: an integer of at least 2 is expected")


def test_help_and_cfg_show_the_shape(command: Command) -> None:
    arguments = ("test_dataset=[glyphs]", "dataset.shots=5")
    for asked in (["--help"], ["--cfg", "job"]):
        code, out, _ = command(*arguments, *asked)
        assert code == 0
        assert "# test_dataset.glyphs.shots: 5 (auto: dataset.shots)" in out


@pytest.mark.parametrize(
    ("overrides", "likelihood", "origin"),
    [
        ((), "categorical", "classification, dataset=glyphs"),
        (("algorithm=cnp",), "categorical", "classification, dataset=glyphs"),
        (("dataset=sinusoid", "model=mlp"), "squared", "regression, dataset=sinusoid"),
        (("dataset=sinusoid", "algorithm=cnp"), "gaussian", "algorithm=cnp"),
        (("dataset=sinusoid", "algorithm=cnp", "likelihood=squared"), "squared", None),
        (
            ("dataset=table", *TABLE, "dataset.kind=classification", "algorithm=cnp"),
            "categorical",
            "classification, dataset=table",
        ),
    ],
)
def test_the_likelihood_follows_from_the_kind_of_task_and_the_algorithm(
    overrides: tuple[str, ...], likelihood: str, origin: str | None
) -> None:
    values = resolved(*overrides)
    assert values["likelihood"] == likelihood
    assert values.get("followed", {}).get("likelihood") == origin


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("likelihood=gaussian", "model.channels=2"), "the tasks are classification, which takes categorical"),
        (
            ("dataset=sinusoid", "model=mlp", "likelihood=categorical"),
            "the tasks are regression, which takes squared or gaussian",
        ),
        (("likelihood=laplace", "model.channels=2"), "the tasks are classification, which takes categorical"),
    ],
)
def test_invalid_likelihood_for_the_tasks(command: Command, overrides: tuple[str, ...], told: str) -> None:
    code, _, err = command(*overrides, "hydra.run.dir=run")
    assert (code, len(err.splitlines())) == (2, 1)
    assert told in err
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("overrides", "optimizer", "lr"),
    [
        ((), "sgd", 1.0),
        (("hypernet=film", "embedding=support"), "adam", 0.001),
        (("hypernet=film", "embedding=support", "algorithm.outer.optimizer=sgd"), "sgd", 1.0),
        (("algorithm.outer.optimizer=adam",), "adam", 0.001),
        (("algorithm.outer.lr=0.5",), "sgd", 0.5),
    ],
)
@pytest.mark.parametrize("algorithm", ["reptile", "meml"])
def test_interpolation_step_is_for_theta(algorithm: str, overrides: tuple[str, ...], optimizer: str, lr: float) -> None:
    outer = resolved(f"algorithm={algorithm}", *overrides)["algorithm"]["outer"]
    assert (outer["optimizer"], outer["lr"]) == (optimizer, lr)
