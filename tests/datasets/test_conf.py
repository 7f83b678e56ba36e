"""The YAML files and the dataclasses hold the same keys, and defaults that load."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from metarun.config.auto_defaults import SHAPE
from metarun.datasets.configurations import ConfigurationsConfig
from metarun.datasets.glyphs import GlyphsConfig
from metarun.datasets.harmonics import HarmonicsConfig
from metarun.datasets.image_folder import ImageFolderConfig
from metarun.datasets.omniglot import OmniglotConfig
from metarun.datasets.polynomials import PolynomialsConfig
from metarun.datasets.regression_families import RegressionFamiliesConfig
from metarun.datasets.school import SchoolConfig
from metarun.datasets.sinusoid import SinusoidConfig
from metarun.datasets.table import TableConfig

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "dataset"
CONFIGS = {
    "configurations": ConfigurationsConfig,
    "glyphs": GlyphsConfig,
    "harmonics": HarmonicsConfig,
    "image_folder": ImageFolderConfig,
    "omniglot": OmniglotConfig,
    "polynomials": PolynomialsConfig,
    "regression_families": RegressionFamiliesConfig,
    "school": SchoolConfig,
    "sinusoid": SinusoidConfig,
    "table": TableConfig,
}


@pytest.mark.parametrize("name", CONFIGS)
def test_keys_are_fields(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    values = yaml.safe_load(text)
    config = CONFIGS[name]
    assert values.pop("_target_") == f"{config.__module__}.{config.__qualname__}"
    assert values.pop("_kind_", values.get("kind")) in ("classification", "regression")
    values.pop("_prefers_", None)  # what auto means elsewhere: not the data set's own
    assert set(values) == {field.name for field in dataclasses.fields(config)}


@pytest.mark.parametrize("name", sorted(file.stem for file in FOLDER.glob("*.yaml")))
def test_each_can_be_tested_on_with_the_shape_of_the_runs_own_episodes(name: str) -> None:
    text = (FOLDER.parent / "test_dataset" / f"{name}.yaml").read_text()
    own, values = yaml.safe_load((FOLDER / f"{name}.yaml").read_text()), yaml.safe_load(text)
    assert text.startswith(f"# @package test_dataset.{name}\n")
    assert values.pop("defaults") == [{"/dataset@_here_": name}, "_self_"]
    # Training shapes are of no use in a test: a summary need not mention them.
    training = {key: None for key, value in own.items() if key.startswith("train_") and value is not None}
    assert values == {key: "auto" for key in SHAPE if key in own} | training


def test_no_other_can_be_tested_on() -> None:
    assert {file.name for file in (FOLDER.parent / "test_dataset").iterdir()} == {
        file.name for file in FOLDER.iterdir()
    }
