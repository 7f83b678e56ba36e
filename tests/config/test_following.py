"""Keys that are ``auto`` follow from the other parts chosen; what is typed stays."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from metarun.config.compose import compose, plain

Command = Callable[..., tuple[int, str, str]]


def resolved(*overrides: str, config_dir: str | None = None) -> dict:
    config = compose(overrides, config_dir)
    return plain(config, config.hydra.runtime.choices)


@pytest.mark.parametrize(
    ("overrides", "value", "origin"),
    [
        ((), "batch", "no preference"),
        (("algorithm=r2d2",), "global", "algorithm=r2d2"),
        (("algorithm=r2d2", "engine.transductive=true"), "batch", "engine.transductive=true"),
        (("algorithm=r2d2", "model.normalisation=auto"), "global", "algorithm=r2d2"),
        (("algorithm=r2d2", "model.normalisation=group"), "group", None),
        (("algorithm=r2d2", "model.normalisation=batch"), "batch", None),
        (("algorithm=r2d2", "dataset=sinusoid", "model=mlp"), "none", None),
        (("algorithm=r2d2", "model=mlp", "model.normalisation=auto"), "global", "algorithm=r2d2"),
        (("experiment=maml_sinusoid",), "none", None),
    ],
)
def test_a_value_follows_from_the_algorithm_unless_it_is_typed(
    overrides: tuple[str, ...], value: str, origin: str | None
) -> None:
    values = resolved(*overrides)
    assert values["model"]["normalisation"] == value
    assert values.get("followed", {}).get("model.normalisation") == origin
    assert not any("_prefers_" in node for node in values.values() if isinstance(node, dict))


def test_an_experiment_wins_over_a_preference_and_is_lost_to_what_is_typed(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /algorithm: r2d2\nmodel:\n  normalisation: group\n"
    )
    assert resolved("experiment=mine", config_dir=str(tmp_path))["model"]["normalisation"] == "group"
    typed = resolved("experiment=mine", "model.normalisation=auto", config_dir=str(tmp_path))
    assert typed["model"]["normalisation"] == "global"


def test_an_option_of_one_s_own_may_prefer(tmp_path: Path) -> None:
    (tmp_path / "algorithm").mkdir()
    (tmp_path / "algorithm" / "mine.yaml").write_text(
        "defaults:\n  - protonet\n  - _self_\n_prefers_:\n  model.normalisation: group\n"
    )
    values = resolved("algorithm=mine", config_dir=str(tmp_path))
    assert values["model"]["normalisation"] == "group"
    assert values["followed"] == {"model.normalisation": "algorithm=mine"}


def test_the_value_and_its_origin_are_told(command: Command) -> None:
    comment = "# model.normalisation: global (auto: algorithm=r2d2)\n"
    code, out, _ = command("--cfg", "job", "algorithm=r2d2")
    assert code == 0
    assert yaml.safe_load(out)["model"]["normalisation"] == "global"
    assert out.endswith(comment)
    assert comment in command("--help", "algorithm=r2d2")[1]
    assert "auto:" not in command("--cfg", "job", "algorithm=r2d2", "model.normalisation=group")[1]
    _, out, _ = command("mode=info", "algorithm=r2d2", "model.channels=4")
    assert "model.normalisation   global   auto: algorithm=r2d2" in out


def test_a_run_keeps_what_followed(command: Command) -> None:
    run = ("algorithm=matching", "model.channels=2", "debug=fast", "device.threads=1", "hydra.run.dir=run")
    code, _, err = command(*run)
    assert code == 0, err
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    assert config["model"]["normalisation"] == "global"
    assert config["followed"] == {"model.normalisation": "algorithm=matching"}
    code, _, err = command("mode=test", "checkpoint=run", "hydra.run.dir=test")
    assert code == 0, err
    assert yaml.safe_load(Path("test/config.yaml").read_text())["model"]["normalisation"] == "global"
