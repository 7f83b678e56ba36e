"""What is installed is what is here."""

import configparser
import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def test_setup_lists_every_package() -> None:
    folders = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "metarun").rglob("__init__.py")}
    listed = setup()["options"]["packages"].split()
    assert len(listed) == len(set(listed))
    assert set(listed) == folders | {"metarun.conf"}


def test_every_folder_with_code_is_a_package() -> None:
    assert all((file.parent / "__init__.py").exists() for file in (ROOT / "metarun").rglob("*.py"))


def test_every_requirement_has_a_tested_pin() -> None:
    options = setup()["options"]["install_requires"] + "".join(setup()["options.extras_require"].values())
    required = {line.split(">=")[0].lower() for line in options.split()}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].lower() for line in lines if "==" in line}
    assert required <= pinned


def test_every_option_names_a_class_in_the_package_of_its_group() -> None:
    for file in sorted((ROOT / "conf").glob("*/*.yaml")):
        group = file.parent.name
        text = file.read_text(encoding="utf-8")
        if group in ("experiment", "debug"):
            assert text.startswith("# @package _global_"), file
        else:
            others = {"device": "engine", "engine": "engine", "sweep": "sweep", "tracking": "runs", "hpo": "hpo"}
            others["collect"] = "hpo"
            others["test_dataset"] = "datasets"
            package = others.get(group, group + "s")
            assert target(file).startswith(f"metarun.{package}."), file


def target(file: Path) -> str:
    """The class that an option names, or the option on which it is based."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    if "_target_" in content:
        return str(content["_target_"])
    base = content["defaults"][0]
    if isinstance(base, str):
        return target(file.with_stem(base))
    ((group, option),) = base.items()  # of another group, as in "/dataset@_here_: glyphs"
    return target(ROOT / "conf" / group.strip("/").partition("@")[0] / f"{option}.yaml")


def test_an_uninstalled_clone_finds_its_configurations(tmp_path: Path) -> None:
    (tmp_path / "clone").mkdir()
    for name in ("metarun", "conf"):
        (tmp_path / "clone" / name).symlink_to(ROOT / name)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "clone"), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "metarun", "--cfg", "job"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "inner_steps" in done.stdout
