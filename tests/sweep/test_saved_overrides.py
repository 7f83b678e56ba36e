"""Opening a sweep folder that another person wrote executes nothing."""

import os
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from fake_runs import Command, Runs

from metarun.config.compose import parse
from metarun.config.plain_yaml import LARGEST, read_yaml
from metarun.config.quoting import setting
from metarun.core.errors import UserError
from metarun.sweep.saved_overrides import refusal


class Marker:
    """Unpickling an instance makes a folder named ``executed``."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("executed",)


def save(*overrides: str) -> None:
    Path("sweep").mkdir(exist_ok=True)
    Path("sweep/sweep.yaml").write_text(yaml.safe_dump({"overrides": list(overrides)}))


def test_a_callback_that_unpickles_is_refused(command: Command, runs: Runs) -> None:
    save(
        f"hydra.searchpath=[file://{Path.cwd()}/sweep/conf]",
        "hydra/callbacks=evil",
        "seed=0,1",
    )
    torch.save(Marker(), "sweep/payload.pt")
    callbacks = Path("sweep/conf/hydra/callbacks")
    callbacks.mkdir(parents=True)
    call = {"_target_": "torch.load", "f": str(Path("sweep/payload.pt").absolute()), "weights_only": False}
    text = yaml.safe_dump({"hydra": {"callbacks": {"evil": call}}})
    (callbacks / "evil.yaml").write_text(f"# @package _global_\n{text}")
    code, _, err = command("resume=sweep")
    assert not Path("executed").exists()
    assert (code, err.count("\n"), runs.begun) == (2, 1, [])
    assert "sweep.yaml: hydra.searchpath=" in err
    assert "is not used from a saved file" in err


REFUSED = [
    "hydra.searchpath=[file:///tmp]",
    "hydra/callbacks=evil",
    "+hydra/callbacks=evil",
    "+hydra.callbacks.evil._target_=os.system",
    "hydra/job_logging=evil",
    "hydra.job_logging.handlers.file.filename=/tmp/x",
    "hydra/hydra_logging=evil",
    "hydra/sweeper=evil",
    "hydra/help=evil",
    "hydra.run.dir=/tmp/x",
    "hydra.job.env_set.LD_PRELOAD=x",
    "hydra.output_subdir=x",
    "hydra={a:1}",
    "hydra/launcher=evil",
    "hydra/launcher=basic,evil",
    "hydra/launcher@hydra.sweeper=basic",
    "hydra.launcher._target_=os.system",
    "+hydra.launcher.setup=[touch x]",
    "hydra.launcher.python=/tmp/x",
    "hydra.launcher.srun_args=[x]",
    "hydra.launcher.submitit_folder=/tmp/x",
    "hydra.launcher.additional_parameters={wrap:x}",
    "hydra.launcher.temp_folder=/tmp/x",
    "hydra.launcher.pre_dispatch='exit()'",
    "hydra.launcher.partition='x\ntouch y'",
    "hydra.launcher.partition=gpu,cpu",
    "hydra.launcher.ray.init.address=evil.example",
    "hydra.launcher.ray.init.runtime_env={pip:[x]}",
    "dataset.root=${oc.env:HOME}",
    "engine.steps=${seed}",
    "algorithm._target_=os.system",
    "algorithm.outer={_target_:os.system}",
    "algorithm.outer={a:{_target_:'os.system'}}",
    "dataset.columns=[{_target_:os.system}]",
    "dataset.columns={a:1},{b:{_args_:1}}",
    "dataset@_global_=glyphs",
    "+dataset@test_dataset.far=glyphs",
    "test_dataset.far._target_=os.system",
    "test_dataset.far.x={_target_:os.system}",
    "~hydra.launcher",
    "~algorithm",
    "other=3",
    "+other.key=3",
    "sweep/space=evil",
    "algorithm/outer=plain",
    "choices.algorithm=maml",
]
USED = [
    "algorithm=maml,anil",
    "algorithm=glob(*)",
    "experiment=maml_sinusoid",
    "debug=fast",
    "seed=range(5)",
    "mode=test",
    "checkpoint='outputs/a=1,b=2'",
    "algorithm.inner_lr=tag(log,interval(0.1,1))",
    "dataset.root='/data/my sets (new)'",
    "dataset.features=[age,'Jitter(%)'],[age]",
    "+algorithm.outer.tasks.pool=2",
    "test_dataset=[omniglot,glyphs]",
    "test_dataset.omniglot.root=/data/omniglot",
    "sweep=optuna",
    "sweep.trials=30",
    "hydra/launcher=joblib",
    "hydra.launcher.n_jobs=2",
    "hydra.launcher.partition=gpu-a100",
    "hydra.launcher.timeout_min=60",
    "hydra.launcher.ray.init.num_cpus=null",
    "+hydra.launcher.ray.remote.num_gpus=0.5",
]


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    (override,) = parse([text])
    assert refusal(override) is not None


@pytest.mark.parametrize("text", USED)
def test_used(text: str) -> None:
    (override,) = parse([text])
    assert refusal(override) is None


def test_typed_values_replace_saved_ones(command: Command, runs: Runs) -> None:
    save("seed=0,1", "hydra.help.app_name=1", "dataset.download=true")
    code, _, err = command("resume=sweep")
    assert code == 2
    assert "hydra.help.app_name=1: may run commands or write files" in err
    assert "type it again beside resume" in err
    assert command("resume=sweep", "hydra.help.app_name=2")[0] == 0
    assert len(runs.begun) == 2
    save("seed=0,1", "engine.val_every=${engine.steps}")
    code, _, err = command("resume=sweep")
    assert code == 2
    assert "contains an interpolation" in err
    assert "type the whole command again, with hydra.sweep.dir=sweep" in err


@pytest.mark.parametrize("special", ["hydra.help.app_name=1", "engine.val_every=${engine.steps}", "seed=0,1"])
def test_the_command_printed_takes_up_the_sweep(command: Command, runs: Runs, special: str) -> None:
    runs.acts = {1: UserError("no luck")}
    code, _, err = command(
        "-m", "seed=0,1", *([] if special == "seed=0,1" else [special]), setting("hydra.sweep.dir", "a b=c,d#'$e")
    )
    assert code == 2
    again = shlex.split(err.rpartition("to run what is missing: ")[2])
    runs.acts, before = {}, len(runs.begun)
    assert again[0] == "metarun"
    assert command(*again[1:])[0] == 0
    assert [seed for _, seed in runs.begun[before:]] == [1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("overrides: [" + "x, " * LARGEST + "]", "larger than 1,048,576 bytes"),
        ("a: &a [1]\nb: *a\noverrides: []", "contains an alias"),
        ("[" * 100_000, "cannot be read"),
        ("overrides: !!python/object/apply:os.mkdir [executed]", "cannot be read"),
    ],
)
def test_foreign_files(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=expected):
        read_yaml(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml(file)
