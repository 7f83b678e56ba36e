"""What metarun prints as a command does what it says when it is pasted, whatever names it contains."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from metarun.command import cli
from metarun.config.compose import parse
from metarun.config.quoting import (
    command_line,
    path_argument,
    path_setting,
    setting,
    suggestion,
    unescaped,
    with_plain_paths,
)
from metarun.runs.files import LAST
from metarun.runs.status import write_status
from metarun.setup.settings import Settings

Command = Callable[..., tuple[int, str, str]]
Experiment = Callable[[Callable[..., Any]], None]

AWKWARD = st.text(
    st.sampled_from("ab=,;:'\"\\${}[]()#~+-*?!&|<>% .é") | st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]),
    min_size=1,
    max_size=30,
)
"""Names without control characters, which would not fit on the line that is printed."""
FOLDERS = AWKWARD.filter(lambda name: "/" not in name and name not in (".", "..") and len(name.encode()) < 200)

NAMES = [
    "algorithm=maml,seed=0",
    "my runs",
    "it's",
    'a "b"',
    "'quoted'",
    "cost $5 #1",
    "a\\b",
    "{x: y}",
    "(1)",
    "null",
    "ü",
]


@given(FOLDERS)
@example("algorithm=maml,seed=0")
@example("'quoted'")
@example("null")
@example(" blank ")
@example("a\\${b}")
@example("-x")
def test_a_path_comes_back_from_the_line_printed(name: str) -> None:
    line = command_line({}, path_setting("resume", name))
    program, argument = shlex.split(line)
    (override,) = parse(with_plain_paths([argument], sweep=False))
    value = override.value()
    assert program == "metarun"
    assert isinstance(value, str)
    assert unescaped(value) == name
    assert OmegaConf.create({"resume": value}).resume == name
    assert Path(path_argument(name)) == Path(name)


@given(st.lists(AWKWARD, min_size=1, max_size=3), AWKWARD)
@example(["age", "Jitter(%)"], "subject#")
@example(["1e5", "007", "true", "null", "a,b", "???"], "1e5")
@example(["a\\"], "${seed}")
def test_a_text_and_a_list_come_back_from_a_setting(names: list[str], name: str) -> None:
    columns, task = parse([setting("dataset.features", names), setting("dataset.task", name)])
    assert not columns.is_sweep_override()
    assert not task.is_sweep_override()
    composed = OmegaConf.create({"features": columns.value(), "task": task.value()})
    if name != "???":  # which OmegaConf takes for a value that is missing
        assert composed.task == name
    if "???" not in names:
        assert list(composed.features) == names


def test_unnecessary_quotes_are_omitted() -> None:
    assert setting("dataset.task", "subject") == "dataset.task=subject"
    assert setting("dataset.features", ["age", "sex"]) == "dataset.features=[age,sex]"
    assert path_setting("resume", "sw/algorithm=maml,seed=0") == "resume=sw/algorithm=maml,seed=0"
    assert command_line({}, path_setting("resume", "outputs/run")) == "metarun resume=outputs/run"
    assert with_plain_paths(["resume=run", "seed=0,1"], sweep=False) == ["resume=run", "seed=0,1"]


def test_paths_in_hydras_own_quotes_and_escapes_still_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a,b").mkdir()
    for typed in ("resume=a,b", "resume='a,b'", 'resume="a,b"', "resume=a\\,b"):
        (override,) = parse(with_plain_paths([typed], sweep=False))
        assert override.value() == "a,b"
    assert with_plain_paths(["checkpoint=x,y"], sweep=True) == ["checkpoint=x,y"], "several, in a sweep"
    assert with_plain_paths(["checkpoint=a,b"], sweep=True) == ['checkpoint="a,b"'], "unless it is there"
    assert with_plain_paths(["resume=null", "resume="], sweep=False) == ["resume=null", "resume="]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("dataset.task=subject#", "'dataset.task=\"subject#\"'"),
        ("dataset.features=[age,Jitter(%)]", "'dataset.features=[age,\"Jitter(%)\"]'"),
        ("dataset.features=[age, 'x y', Jitter(%)]", "'dataset.features=[age,x y,\"Jitter(%)\"]'"),
    ],
)
def test_unparsable_text_is_suggested_in_quotes(command: Command, typed: str, expected: str) -> None:
    assert suggestion(typed) == expected
    code, _, err = command("dataset=table", "dataset.path=x.csv", typed)
    assert (code, err.count("\n")) == (2, 1)
    assert err.endswith(f"; if the value is text, quote it for Hydra and the shell: {expected}\n")
    assert parse(shlex.split(expected))


def test_a_hint_for_a_column_can_be_pasted(command: Command) -> None:
    Path("t.csv").write_text(
        "subject#,Jitter(%),age,target\n" + "".join(f"{n % 4},{n},{n * n},{n}\n" for n in range(40))
    )
    table = ["dataset=table", "dataset.path=t.csv", "model=mlp", "algorithm.inner_lr=0.01", "debug=fast"]
    hints: list[str] = []
    for _ in range(3):
        given = dict(hint.split("=", 1) for hint in hints)
        task = f"dataset.task={given.get('dataset.task', 'subject')}"
        features = f"dataset.features={given.get('dataset.features', '[age,jitter]')}"
        code, out, err = command(*table, task, features, "mode=info")
        if code == 0:
            break
        hints += shlex.split(err.partition("did you mean ")[2].partition("? (columns")[0])
    assert code == 0, err
    assert hints == ['dataset.task="subject#"', 'dataset.features=[age,"Jitter(%)"]']
    assert "table" in out


def test_commands_printed_for_folders_of_any_name_run(
    experiment: Experiment, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.chdir(home)
    configurations: list[dict[str, Any]] = []

    def first(settings: Settings, folder: Path) -> float:
        write_status(folder, "running")
        (folder / "checkpoints").mkdir()
        (folder / LAST).touch()
        (folder / "config.yaml").write_text(yaml.safe_dump(settings.plain), encoding="utf-8")
        configurations.append(settings.plain)
        return 0.5

    experiment(first)
    assert cli.main(["hydra.run.dir=saved", "dataset.shots=3", "seed=7"]) == 0
    seen: list[tuple[Settings, Path]] = []
    experiment(lambda settings, folder: seen.append((settings, folder)))

    @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
    @given(FOLDERS)
    def paste(name: str) -> None:
        run = home / name
        if "${" in name or run.exists():  # Hydra itself cannot log to a folder whose name has an interpolation in it
            return
        shutil.copytree(home / "saved", run)
        resume = shlex.split(command_line(configurations[0], path_setting("resume", name)))
        test = shlex.split(command_line(configurations[0], "mode=test", path_setting("checkpoint", name)))
        seen.clear()
        assert cli.main(resume[1:]) == 0
        assert cli.main(test[1:]) == 0
        (resumed, folder), (tested, _) = seen
        assert (resumed.resume, folder) == (name, run)
        assert (tested.checkpoint, tested.seed, tested.plain["dataset"]["shots"]) == (name, 7, 3)
        shutil.rmtree(run)

    for name in NAMES:
        paste = example(name)(paste)
    paste()


def test_what_a_run_and_a_sweep_print_runs(command: Command) -> None:
    fast = ["dataset=sinusoid", "model=mlp", "model.hidden=[8]", "debug=fast", "tracking=scalars", "device.threads=1"]
    folder = "all 'my' runs, $5 #1 = ü"
    code, out, err = command("-m", *fast, "seed=0,1", setting("hydra.sweep.dir", folder))
    assert code == 0, err
    compare = next(line for line in out.splitlines() if line.startswith("compare"))
    assert shlex.split(compare)[1:] == ["metarun-report", folder]
    look = next(line for line in out.splitlines() if line.startswith("look"))
    assert shlex.split(look)[1:] == ["tensorboard", "--logdir", folder]
    log = Path(folder, "seed=1", "metarun.log").read_text(encoding="utf-8")
    again = log.rpartition("again       ")[2].splitlines()[0]
    words = shlex.split(again)
    assert words == ["metarun", "mode=test", f"checkpoint={folder}/seed=1"]
    code, out, err = command(*words[1:], "hydra.run.dir=tested")
    assert code == 0, err
    assert Path("tested/result.json").is_file()
