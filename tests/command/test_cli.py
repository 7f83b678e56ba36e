"""What a person meets at the terminal: exit codes, one line for every mistake, and folders left as they were."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import ALGORITHMS
from filelock import FileLock

from metarun.config.groups import GROUPS
from metarun.config.hydra import ConfigLoaderImpl
from metarun.core import tensor_file
from metarun.core.errors import Interrupted, UserError
from metarun.core.version import __version__
from metarun.runs.files import LAST
from metarun.runs.status import write_status
from metarun.setup import user_parts
from metarun.setup.settings import Settings

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
"""For metarun as a program of its own, installed or not."""

Command = Callable[..., tuple[int, str, str]]
Experiment = Callable[[Callable[..., Any]], None]


@pytest.fixture
def ran(experiment: Experiment) -> list[tuple[Settings, Path]]:
    """The calls of an experiment that does nothing."""
    calls: list[tuple[Settings, Path]] = []
    experiment(lambda settings, folder: calls.append((settings, folder)))
    return calls


def begun(folder: Path, **changes: Any) -> None:
    """What a run has written once it has begun."""
    write_status(folder, "running")
    (folder / "checkpoints").mkdir(exist_ok=True)


def finished(command: Command, experiment: Experiment, *overrides: str) -> Path:
    """The folder of a run that saved its configuration and states, as every run does."""
    folders = []

    def run(settings: Settings, folder: Path) -> float:
        begun(folder)
        (folder / "config.yaml").write_text(yaml.safe_dump(settings.plain), encoding="utf-8")
        tensor_file.write(folder / LAST, {"config": settings.plain})
        folders.append(folder)
        return 0.5

    experiment(run)
    code, _, err = command(*overrides)
    assert code == 0, err
    return folders[0]


MISTAKES = {
    "unknown group": (
        ["algoritm=anil"],
        "no config group or key 'algoritm'; did you mean 'algorithm'? (groups: dataset, ",
    ),
    "unknown root key": (["sede=1"], "no config group or key 'sede'; did you mean 'seed'?"),
    "group left out": (["shots=5"], "no config group or key 'shots'; did you mean 'dataset.shots'?"),
    "nested in unknown": (["algoritm.inner_lr=1"], "no config group or key 'algoritm'; did you mean 'algorithm'?"),
    "unknown option": (["algorithm=anli"], "algorithm=anli: no such algorithm; did you mean 'anil'? (options: anil, "),
    "unknown experiment": (["experiment=mmal"], "experiment=mmal: no such experiment"),
    "option null": (["dataset=null"], "dataset=null: no such dataset (options: "),
    "mistyped key": (
        ["dataset.shotz=5"],
        "dataset.shotz=5: no key 'shotz' in dataset=glyphs; did you mean 'dataset.shots'? (keys: ",
    ),
    "mistyped key of a chosen option": (
        ["algorithm=anil", "algorithm.inner_l=5"],
        "algorithm.inner_l=5: no key 'inner_l' in algorithm=anil; did you mean 'algorithm.inner_lr'?",
    ),
    "key of another group": (
        ["dataset.inner_lr=1"],
        "dataset.inner_lr=1: no key 'inner_lr' in dataset=glyphs; did you",
    ),
    "key below a value": (
        ["dataset.shots.foo=1"],
        "dataset.shots.foo=1: no key 'foo' in dataset.shots, which is a value",
    ),
    "mistyped key above others": (
        ["algorithm.outr.tasks.pool=2"],
        "algorithm.outr.tasks.pool=2: no key 'outr' in algorithm=maml; did you mean 'algorithm.outer.tasks.pool'?",
    ),
    "mistyped key within keys": (
        ["algorithm.outer.tasks.polo=2"],
        "algorithm.outer.tasks.polo=2: no key 'polo' in algorithm.outer.tasks; did you mean "
        "'algorithm.outer.tasks.pool'? (keys: select, pool, temperature)",
    ),
    "key above left out": (
        ["algorithm.tasks.pool=2"],
        "algorithm.tasks.pool=2: no key 'tasks' in algorithm=maml; did you mean 'algorithm.outer.tasks.pool'?",
    ),
    "keys that an option has not": (
        ["algorithm=scratch", "algorithm.outer.tasks.pool=2"],
        "algorithm.outer.tasks.pool=2: no key 'outer' in algorithm=scratch (keys: ",
    ),
    "key of an option without any": (
        ["embedding.foo=1"],
        "embedding.foo=1: no key 'foo' in embedding=none (keys: none)",
    ),
    "group that files choose": (
        ["algorithm/outer=plain"],
        "algorithm/outer: none of its options is chosen, so no other can be; to set keys, write algorithm.outer.KEY=",
    ),
    "added key": (["+algorithm.foo=1"], "algorithm.foo=1: no key 'foo' in algorithm=maml"),
    "forced key": (["++algorithm.foo=1"], "algorithm.foo=1: no key 'foo' in algorithm=maml"),
    "added root key": (["+foo=1"], "no config group or key 'foo'"),
    "added key that is there": (
        ["+dataset.shots=4"],
        "Could not append to config. An item is already at 'dataset.shots'.",
    ),
    "deleted key": (["~dataset.shots"], "dataset.shots: missing; an integer of at least 1 is expected"),
    "word for a number": (["dataset.shots=many"], "dataset.shots=many: an integer of at least 1 is expected"),
    "fraction for a whole": (["dataset.shots=1.5"], "dataset.shots=1.5: an integer of at least 1 is expected"),
    "number for a switch": (["engine.transductive=1"], "engine.transductive=1: true or false is expected"),
    "out of range": (["dataset.shots=0"], "dataset.shots=0: an integer of at least 1 is expected"),
    "negative seed": (["seed=-1"], "seed=-1: an integer of at least 0"),
    "not a number": (["algorithm.inner_lr=nan"], "algorithm.inner_lr=nan: a number"),
    "open bracket": (["dataset.shots=["], "dataset.shots=[: not a setting of the form key=value ("),
    "no value": (["dataset.shots"], "dataset.shots: no value given; write dataset.shots=VALUE"),
    "empty value": (["dataset.shots="], "dataset.shots='': an integer of at least 1 is expected"),
    "mandatory": (["dataset.shots=???"], "dataset.shots: no value given"),
    "bad interpolation": (["engine.steps=${nope}"], "engine.steps: Interpolation key 'nope' not found"),
    "bad interpolation in the folder": (["hydra.run.dir=${nope}"], "hydra.run.dir: Interpolation key 'nope' not found"),
    "values without -m": (["dataset.shots=1,5"], "dataset.shots=1,5: several values are run one after the other by"),
    "unknown hydra key": (["hydra.foo=1"], "hydra.foo: Key 'foo' not in 'HydraConf'"),
    "unknown flag": (["--nonsense"], "unrecognized arguments: --nonsense"),
    "unknown data to test on": (["test_dataset=[omnglot]"], "test_dataset=omnglot: no such test_dataset; did you mean"),
    "no data to test on": (
        ["test_dataset=null"],
        "test_dataset=null: for no further data set, write 'test_dataset=[]'",
    ),
    "key of data that are not tested on": (
        ["test_dataset.omniglot.root=x"],
        "test_dataset.omniglot.root=x: no data set 'omniglot' to test on is chosen; add 'test_dataset=[omniglot]'",
    ),
    "unknown key of data to test on": (
        ["test_dataset=[glyphs]", "test_dataset.glyphs.shotz=5"],
        "test_dataset.glyphs.shotz=5: no key 'shotz' in test_dataset.glyphs; did you mean 'test_dataset.glyphs.shots'?",
    ),
    "wrong value of data to test on": (
        ["test_dataset=[glyphs]", "test_dataset.glyphs.ways=1"],
        "test_dataset.glyphs.ways=1: an integer of at least 2 is expected",
    ),
    "data to test on of another kind": (
        ["dataset=sinusoid", "model=mlp", "test_dataset=[glyphs]"],
        "test_dataset.glyphs: its tasks are classification, and those of dataset=sinusoid are regression; choose a",
    ),
    "another configuration": (["--config-name", "mine"], "--config-name: not supported; metarun has one configuration"),
    "another place": (["--config-path", "mine"], "--config-path: not supported; metarun has its own configuration"),
    "Hydra's rerun": (
        ["--experimental-rerun", "x"],
        "--experimental-rerun: not supported; continue a run with resume=",
    ),
    "-m --cfg": (["-m", "--cfg", "job"], "--cfg shows one run's settings; leave out -m"),
    "--resolve alone": (["--resolve"], "--resolve: add --cfg job"),
    "no config dir": (["--config-dir", "nowhere"], "--config-dir nowhere: no such folder"),
    "unknown mode": (
        ["mode=tset"],
        "mode=tset: one of train, test, optimize, collect, info is expected; did you mean 'test'?",
    ),
    "test without checkpoint": (["mode=test"], "mode=test needs checkpoint=PATH"),
    "checkpoint not there": (["mode=test", "checkpoint=nowhere"], "checkpoint=nowhere: no such file or folder"),
    "checkpoint of a folder that is none": (["mode=test", "checkpoint=."], "checkpoint=.: not a run's folder"),
    "resume not there": (["resume=nowhere"], "resume=nowhere: no such folder"),
    "resume of a folder that is none": (["resume=."], "resume=.: not a run's folder: it has no config.yaml"),
    "sweep of an unknown option": (["-m", "algorithm=maml,foo"], "algorithm=foo: no such algorithm"),
    "sweep of an unknown key": (["-m", "dataset.shotz=1,2"], "dataset.shotz=1,2: no key 'shotz' in dataset=glyphs"),
    "sweep of an added key": (["-m", "+algorithm.foo=1,2"], "algorithm.foo=1: no key 'foo' in algorithm=maml"),
    "sweep of resumes": (["-m", "resume=a,b"], "resume=a,b: takes one run, not several"),
}


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_and_leaves_nothing(
    command: Command, ran: list[Any], arguments: list[str], expected: str
) -> None:
    code, out, err = command(*arguments)
    assert err.startswith(f"metarun: {expected}")
    assert err.count("\n") == 1
    assert (code, out, ran) == (2, "", [])
    assert list(Path.cwd().iterdir()) == []


def test_a_yaml_error_names_file_and_line(command: Command, ran: list[Any], tmp_path: Path) -> None:
    (tmp_path / "mine" / "dataset").mkdir(parents=True)
    (tmp_path / "mine" / "dataset" / "own.yaml").write_text("ways: 5\nshots: [1\nqueries: 2\n", encoding="utf-8")
    code, _, err = command("--config-dir", str(tmp_path / "mine"), "dataset=own")
    assert (code, err.count("\n")) == (2, 1)
    assert "own.yaml, line 3: not valid YAML" in err


def test_a_users_option_is_checked_like_ours(command: Command, ran: list[Any], tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    own = tmp_path / "mine" / "experiment" / "own.yaml"
    flags = ("--config-dir", str(tmp_path / "mine"), "experiment=own")
    own.write_text("# @package _global_\ndefaults:\n  - override /algorithm: reptile\ndataset: {shots: 5}\n")
    assert command(*flags)[0] == 0
    assert ran[0][0].plain["choices"]["algorithm"] == "reptile"
    assert ran[0][0].dataset.shots == 5
    own.write_text("# @package _global_\ndataset: {shotz: 5}\n")
    assert "dataset.shotz=5: no key 'shotz' in dataset=glyphs; did you mean 'dataset.shots'?" in command(*flags)[2]
    own.write_text("dataset: {shots: 5}\n")
    assert "its file must begin with the line '# @package _global_'" in command(*flags)[2]
    own.write_text("# @package _global_\ndefaults:\n  - override /algorithm: mmal\n")
    code, _, err = command(*flags)
    assert (code, err.count("\n")) == (2, 1)
    assert "algorithm/mmal" in err


def test_a_run_gets_its_settings_and_folder(command: Command, ran: list[tuple[Settings, Path]]) -> None:
    assert command("seed=3", "dataset.shots=5", "device.compile=false", "engine.gradient_clip=10")[0] == 0
    settings, folder = ran[0]
    assert (settings.seed, settings.mode, settings.device.compile) == (3, "train", "false")
    assert settings.engine.gradient_clip == 10.0
    assert folder.parent == Path.cwd() / "outputs" / "metarun"
    assert {path.name for path in folder.iterdir()} == {"metarun.log", ".lock"}
    assert set(settings.plain["choices"]) == set(GROUPS) - {"sweep", "test_dataset"}
    assert json.loads(json.dumps(settings.plain)) == settings.plain


@pytest.mark.parametrize("arguments", [(), ("dataset.shots=5", "hydra.run.dir=run")], ids=["default", "typed"])
def test_a_run_is_composed_and_checked_once(
    command: Command, ran: list[Any], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    calls = []

    def counted(owner: Any, name: str) -> None:
        before = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, **kwargs: (calls.append(name), before(*args, **kwargs))[1])

    counted(ConfigLoaderImpl, "load_configuration")
    counted(user_parts, "check")
    assert command(*arguments)[0] == 0
    assert (calls, len(ran)) == (["load_configuration", "check"], 1)


def test_debug_beats_experiment_beats_defaults(command: Command, ran: list[Any]) -> None:
    assert command("debug=fast", "engine.log_every=3")[0] == 0
    assert ran[0][0].engine.steps < 100
    assert ran[0][0].engine.log_every == 3


def test_the_terminal_gets_messages_and_the_log_their_time(command: Command, experiment: Experiment) -> None:
    experiment(lambda settings, folder: logging.getLogger("metarun.x").info("hello"))
    code, out, err = command("hydra.run.dir=run")
    assert (code, out, err) == (0, "hello\n", "")
    assert Path("run/metarun.log").read_text().endswith(" INFO hello\n")


def test_error_before_the_run_removes_created_files(command: Command, experiment: Experiment) -> None:
    def run(settings: Settings, folder: Path) -> None:
        (folder / "cache").mkdir()
        raise UserError("dataset.ways=300: meta-test has 121 classes")

    experiment(run)
    assert command() == (2, "", "metarun: dataset.ways=300: meta-test has 121 classes\n")
    assert list(Path.cwd().iterdir()) == []
    Path("mine").mkdir()
    Path("mine/notes.txt").touch()
    assert command("hydra.run.dir=mine")[0] == 2
    assert [str(path) for path in Path().rglob("*")] == ["mine", "mine/notes.txt"]


def test_a_failure_after_the_run_began_stays_with_its_reason(command: Command, experiment: Experiment) -> None:
    def run(settings: Settings, folder: Path) -> None:
        begun(folder)
        raise UserError("non-finite loss at step 3;\nlower algorithm.inner_lr")

    experiment(run)
    code, _, err = command("hydra.run.dir=run")
    assert (code, err) == (2, "metarun: non-finite loss at step 3; lower algorithm.inner_lr\n")
    status = json.loads(Path("run/status.json").read_text())
    assert (status["status"], status["reason"]) == ("failed", "non-finite loss at step 3; lower algorithm.inner_lr")
    assert "ERROR non-finite loss" in Path("run/metarun.log").read_text()


def test_our_bug_is_one_line_and_a_traceback_in_the_log(command: Command, experiment: Experiment) -> None:
    def run(settings: Settings, folder: Path) -> None:
        raise ValueError("two\nlines")

    experiment(run)
    code, out, err = command("hydra.run.dir=run")
    log = Path.cwd() / "run" / "metarun.log"
    assert (code, out) == (1, "")
    assert err == f"metarun: this is a bug: ValueError: two lines (traceback in {log})\n"
    assert "Traceback (most recent call last)" in log.read_text()
    assert json.loads(Path("run/status.json").read_text())["status"] == "failed"


def test_stopping_exits_130(command: Command, experiment: Experiment) -> None:
    def stop(settings: Settings, folder: Path) -> None:
        begun(folder)
        write_status(folder, "interrupted")
        raise Interrupted("stopped at step 3; resume with: metarun resume=run")

    experiment(stop)
    code, _, err = command("hydra.run.dir=run")
    assert (code, err) == (130, "metarun: stopped at step 3; resume with: metarun resume=run\n")
    assert json.loads(Path("run/status.json").read_text())["status"] == "interrupted"

    def stop_early(settings: Settings, folder: Path) -> None:
        raise KeyboardInterrupt

    experiment(stop_early)
    assert command("hydra.run.dir=other") == (130, "", "metarun: stopped\n")
    assert not Path("other").exists()


def test_folder_with_a_run_is_not_changed(command: Command, ran: list[Any]) -> None:
    Path("run").mkdir()
    Path("run/result.json").write_text("{}")
    code, _, err = command("hydra.run.dir=run")
    assert (code, ran) == (2, [])
    assert "contains a run" in err
    assert [path.name for path in Path("run").iterdir()] == ["result.json"]


def test_uncreatable_folder_is_a_user_error(command: Command, ran: list[Any]) -> None:
    Path("file").touch()
    code, _, err = command("hydra.run.dir=file/run")
    assert (code, err.count("\n"), ran) == (2, 1, [])
    assert "cannot be written" in err


def test_a_checkpoint_brings_its_settings(command: Command, experiment: Experiment) -> None:
    folder = finished(command, experiment, "algorithm=anil", "dataset.shots=3", "seed=7", "algorithm.inner_lr=1e-05")
    seen: list[Settings] = []
    experiment(lambda settings, _: seen.append(settings))
    assert command("mode=test", f"checkpoint={folder}", "dataset.ways=4")[0] == 0
    assert command("mode=test", f"checkpoint={folder / LAST}", "algorithm=maml")[0] == 0
    first, second = seen
    assert (first.seed, first.mode, first.checkpoint) == (7, "test", str(folder))
    assert (first.dataset.shots, first.dataset.ways) == (3, 4)  # type: ignore[attr-defined]
    assert first.plain["choices"]["algorithm"] == "anil"
    assert first.algorithm.inner_lr == 1e-05
    assert second.plain["choices"]["algorithm"] == "maml"
    assert second.algorithm.inner_lr != 1e-05
    assert second.dataset.shots == 3  # type: ignore[attr-defined]


def test_a_checkpoint_without_its_folder_brings_its_settings_too(command: Command, experiment: Experiment) -> None:
    folder = finished(command, experiment, "dataset.shots=3")
    lone = Path("lone.safetensors").absolute()
    (folder / LAST).rename(lone)
    seen: list[Settings] = []
    experiment(lambda settings, _: seen.append(settings))
    assert command("mode=test", f"checkpoint={lone}")[0] == 0
    assert seen[0].dataset.shots == 3  # type: ignore[attr-defined]
    lone.write_bytes(b"rubbish")
    code, _, err = command("mode=test", f"checkpoint={lone}")
    assert (code, err.count("\n")) == (2, 1)
    assert "not a checkpoint of metarun" in err


def test_checkpoint_refuses_conflicting_settings(command: Command, experiment: Experiment) -> None:
    folder = finished(command, experiment)
    assert command(f"checkpoint={folder}")[2].startswith(
        f"metarun: checkpoint={folder}: not read with mode=train; add mode=test, or give resume=RUN_DIR"
    )
    code, _, err = command("mode=test", f"checkpoint={folder}", "debug=fast")
    assert (code, err.count("\n")) == (2, 1)
    assert "debug does not go with checkpoint" in err


def test_resume_uses_the_same_folder_and_settings(command: Command, experiment: Experiment) -> None:
    folder = finished(command, experiment, "algorithm=reptile", "dataset.shots=3")
    seen: list[tuple[Settings, Path]] = []

    def go_on(settings: Settings, folder: Path) -> None:
        seen.append((settings, folder))
        logging.getLogger("metarun").info("again")

    experiment(go_on)
    assert command(f"resume={folder}", "engine.steps=77")[0] == 0
    settings, again = seen[0]
    assert again == folder
    assert settings.plain["choices"]["algorithm"] == "reptile"
    assert (settings.engine.steps, settings.dataset.shots) == (77, 3)  # type: ignore[attr-defined]
    assert command(f"resume={folder}")[0] == 0
    assert (folder / "metarun.log").read_text().count("INFO again") == 2
    code, _, err = command(f"resume={folder}", "dataset.shots=1", "seed=2")
    assert (code, err.count("\n")) == (2, 1)
    assert "only engine.steps may be given (not dataset.shots, seed)" in err


def test_a_mistake_while_resuming_keeps_the_run(command: Command, experiment: Experiment) -> None:
    folder = finished(command, experiment)
    before = {path.name for path in folder.iterdir()}
    status = (folder / "status.json").read_text()

    def run(settings: Settings, folder: Path) -> None:
        raise UserError("the data are gone")

    experiment(run)
    assert command(f"resume={folder}")[0] == 2
    assert {path.name for path in folder.iterdir()} == before
    assert (folder / "status.json").read_text() == status, "a finished run stays one"
    (folder / LAST).unlink()
    assert "had not saved a state yet" in command(f"resume={folder}")[2]


def test_a_folder_is_for_one_process(command: Command, ran: list[Any]) -> None:
    Path("run").mkdir()
    with FileLock("run/.lock"):
        code, _, err = command("hydra.run.dir=run")
    assert (code, ran) == (2, [])
    assert err.endswith("run: in use by another process; wait for it, or stop it\n")


def test_help_names_groups_options_and_examples(command: Command) -> None:
    code, out, _ = command("--help")
    assert code == 0
    for text in (*ALGORITHMS, "metarun resume=", "seed: 0", "Without arguments"):
        assert text in out
    code, out, _ = command("algorithm=anil", "model=mlp", "--help")
    assert "_target_: metarun.algorithms.anil.ANIL" in out
    assert "channels" not in out
    code, _, err = command("algorithm=anli", "--help")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("metarun: algorithm=anli: no such algorithm; did you mean 'anil'?")


def test_other_flags_are_answered(command: Command) -> None:
    assert command("--version") == (0, f"metarun {__version__}\n", "")
    assert "Hydra" in command("--hydra-help")[1]
    code, out, _ = command("--cfg", "job", "--resolve", "dataset.shots=5")
    assert code == 0
    assert yaml.safe_load(out)["dataset"]["shots"] == 5
    assert "complete" in command("-sc", "install=bash")[1]


def test_flags_and_settings_mix(command: Command, tmp_path: Path) -> None:
    code, out, _ = command("seed=4", "--cfg", "job", "dataset.shots=5")
    assert (code, yaml.safe_load(out)["seed"]) == (0, 4)


def test_help_and_mistakes_need_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from metarun.command import cli; cli.main(['algoritm=anil']); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_as_a_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "metarun", "sed=1"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("metarun: no config group or key 'sed'; did you mean 'seed'?")
    assert done.stderr.count("\n") == 1
    # Like `metarun --help | head -1`: whoever listens leaves early.
    piped = subprocess.Popen(
        [sys.executable, "-m", "metarun", "--help"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert piped.stdout
    assert piped.stderr
    piped.stdout.close()
    piped.wait(timeout=60)
    assert piped.stderr.read() == b""
