"""What Tab gives, from the line alone and in a real shell."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from metarun.command.completion import candidates
from metarun.config.groups import GROUPS, ROOT_KEYS

CONF = Path(__file__).parents[2] / "conf"


def options(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def test_groups_and_keys_begin_a_word() -> None:
    found = candidates("metarun ")
    assert {f"{group}=" for group in GROUPS} | {f"{key}=" for key in ROOT_KEYS} <= set(found)
    assert {"dataset.", "hydra/", "hydra."} <= set(found)
    assert candidates("metarun datas") == ["dataset.", "dataset="]
    assert candidates("metarun +exp") == ["+experiment="]


@pytest.mark.parametrize("group", GROUPS)
def test_options_of_a_group(group: str) -> None:
    assert candidates(f"metarun seed=3 {group}=") == [f"{group}={option}" for option in options(group)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("metarun algorithm=mam", ["algorithm=maml", "algorithm=maml_pp"]),
        ("metarun dataset=sinusoid dataset.a", ["dataset.amplitude="]),
        (
            "metarun algorithm.outer.tasks.",
            [f"algorithm.outer.tasks.{key}=" for key in ("pool", "select", "temperature")],
        ),
        ("metarun algorithm=scratch algorithm.ou", []),
        ("metarun dataset._", []),
        ("metarun mode=", ["mode=collect", "mode=info", "mode=optimize", "mode=test", "mode=train"]),
        ("metarun engine.transductive=", ["engine.transductive=false", "engine.transductive=true"]),
        ("metarun model.normalization=", ["model.normalization=auto"]),
        ("metarun -m algorithm=maml,anil,pro", ["algorithm=maml,anil,protonet"]),
        ("metarun -m algorithm=maml,mam", ["algorithm=maml,maml_pp"]),
        ("metarun test_dataset=[om", ["test_dataset=[omniglot"]),
        ("metarun test_dataset=[omniglot,gl", ["test_dataset=[omniglot,glyphs"]),
        ("metarun test_dataset=[glyphs] test_dataset.glyphs.sh", ["test_dataset.glyphs.shots="]),
        ("metarun --mul", ["--multirun"]),
        ("metarun --cfg j", ["job"]),
        ("metarun --config-dir co", []),
        ("metarun hydra/launcher=ba", ["hydra/launcher=basic"]),
    ],
)
def test_what_is_begun_is_finished(line: str, expected: list[str]) -> None:
    assert candidates(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        "algorithm=anli",
        "nonsense=1",
        "dataset.shots=[",
        "'a b",
        "--nonsense",
        "--config-dir nowhere",
        "a=${b",
        "dataset",
    ],
)
def test_mistakes_before_the_word_are_passed_over(line: str) -> None:
    assert candidates(f"metarun {line} embedding=le") == ["embedding=learned"]


def test_a_users_own_options(tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "tides.yaml").write_text("height: 2\n", encoding="utf-8")
    assert candidates(f"metarun --config-dir {tmp_path} dataset=ti") == ["dataset=tides"]
    assert candidates(f"metarun --config-dir={tmp_path} dataset=tides dataset.h") == ["dataset.height="]


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("outputs/run", "outputs/rest", "outputs/.hidden", "other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "outputs" / "rows.csv").touch()
    assert candidates("metarun resume=o") == ["resume=other/", "resume=outputs/"]
    assert candidates("metarun mode=test checkpoint=outputs/r") == [
        f"checkpoint=outputs/{name}" for name in ("rest/", "rows.csv", "run/")
    ]
    assert candidates(f"metarun hydra.run.dir={tmp_path}/ot") == [f"hydra.run.dir={tmp_path}/other/"]
    assert candidates("metarun resume=nowhere/") == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_in_a_real_bash(tmp_path: Path) -> None:
    """As a user has it: what ``metarun -sc install=bash`` prints, evaluated, and then Tab on some lines."""
    program = tmp_path / "metarun"
    program.write_text(f"#!{sys.executable}\nfrom metarun.command.cli import main\nraise SystemExit(main())\n")
    program.chmod(0o755)
    script = """
        eval "$(metarun -sc install=bash)"
        complete -p metarun
        for COMP_LINE in "metarun algorithm=met" "metarun --nonsense dataset.sh"; do
            COMP_WORDS=($COMP_LINE) COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_POINT=${#COMP_LINE} COMPREPLY=()
            hydra_bash_completion metarun
            echo "${COMPREPLY[@]}"
        done
    """
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(CONF.parent)}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env={**os.environ, **path}, capture_output=True, text=True, cwd=tmp_path
    )
    rule, *found = done.stdout.splitlines()
    assert (done.stderr, rule.split()[-1]) == ("", "metarun")
    assert found == ["algorithm=meta_curvature algorithm=meta_sgd algorithm=metaopt", "dataset.shots="]


def test_each_shell_is_answered_in_its_way(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from metarun.command import cli

    monkeypatch.setenv("COMP_LINE", "metarun algorithm=mam")
    for shell, expected in (("bash", " "), ("zsh", " "), ("fish", "\n")):
        assert cli.main(["-sc", f"query={shell}"]) == 0
        assert capsys.readouterr().out == f"algorithm=maml{expected}algorithm=maml_pp\n"
