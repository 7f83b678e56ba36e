"""A user's package beside the command line: it is found, it runs, it goes on, and mistakes in it are told as such."""

import importlib
import json
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from compositions import falls, trained
from documents import blocks
from torch import Tensor

import metarun
from metarun.config.compose import compose, plain
from metarun.core.errors import UserCodeError, UserError
from metarun.core.inputs import InputSpec
from metarun.core.kinds import Regression
from metarun.core.tasks import Examples, PaddedExamples, TaskBatch
from metarun.embeddings.base import EmbeddingInputs
from metarun.setup import user_parts
from metarun.training.progress import TrainingLog

Command = Callable[..., tuple[int, str, str]]
SMALL = (
    "model=mlp", "model.hidden=[6]", "algorithm.inner_lr=0.01", "debug=fast", "engine.steps=4",
    "device.name=cpu", "device.threads=1", "tracking=scalars",
)  # fmt: skip
TIDES = ("--config-dir", "conf", "dataset=tides", *SMALL)
HEART = ("model=sines", "model.waves=6", "hypernet=subspace", "embedding=mean_map", *SMALL[2:])
"""A model, a hypernetwork and an embedding of one's own."""


pytestmark = pytest.mark.usefixtures("user_modules")


@pytest.fixture
def package(command: Command) -> Path:
    """The package of the manual's page, in the folder where commands run."""
    for block in blocks("user_parts.md"):
        if block.file is not None:
            Path(block.file).parent.mkdir(parents=True, exist_ok=True)
            Path(block.file).write_text(block.text, encoding="utf-8")
    return Path.cwd()


def edit(file: str, old: str, new: str) -> None:
    text = Path(file).read_text(encoding="utf-8")
    assert old in text
    Path(file).write_text(text.replace(old, new), encoding="utf-8")


def numbers(folder: str) -> Any:
    return json.loads(Path(folder, "result.json").read_text())["meta_test"]


@pytest.mark.parametrize("parts", [(*SMALL, "algorithm=sign_maml"), HEART], ids=["algorithm", "heart"])
def test_run_with_user_parts_is_stopped_resumed_and_tested(
    command: Command, package: Path, monkeypatch: pytest.MonkeyPatch, parts: tuple[str, ...]
) -> None:
    own = ("--config-dir", "conf", "dataset=tides", *parts)
    code, out, err = command(*own, "hydra.run.dir=whole")
    assert code == 0, err
    assert "Tides · 10 support and 20 query examples      fresh tasks at every visit" in out
    assert "again       metarun --config-dir conf mode=test checkpoint=whole" in out

    step = TrainingLog.step

    def stop(self: TrainingLog, number: int, *rest: Any) -> None:
        step(self, number, *rest)
        if number == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLog, "step", stop)
        code, _, err = command(*own, "hydra.run.dir=parts")
    assert code == 130
    line = re.search(r"resume with: metarun (--config-dir conf resume=\S+)", err)
    assert line, err
    assert command(*line[1].split())[0] == 0
    assert numbers("parts") == numbers("whole")

    code, out, err = command("--config-dir", "conf", "mode=test", "checkpoint=whole", "hydra.run.dir=again")
    assert code == 0, err
    assert numbers("again") == numbers("whole")
    assert "config_dir" in Path("whole/config.yaml").read_text()


@pytest.mark.parametrize("words", [["mode=test", "checkpoint=run"], ["resume=run"]])
def test_resuming_needs_the_config_dir_and_names_it(command: Command, package: Path, words: list[str]) -> None:
    """It is not taken from the run's folder: its files name classes to import."""
    assert command(*TIDES, "hydra.run.dir=run")[0] == 0
    code, _, err = command(*words)
    assert (code, err.count("\n")) == (2, 1)
    assert (
        f"dataset=tides is not metarun's but of the folder {package / 'conf'}; give that again as --config-dir" in err
    )
    with pytest.raises(UserError, match="dataset=tides is not metarun's but of the folder"):
        metarun.load("run")


def test_a_test_on_another_dataset_needs_no_folder(command: Command, package: Path) -> None:
    assert command(*TIDES, "hydra.run.dir=run")[0] == 0
    code, _, err = command("mode=test", "checkpoint=run", "dataset=sinusoid", "hydra.run.dir=waves")
    assert code == 0, err


def test_user_dataset_as_further_test_data(command: Command, package: Path) -> None:
    tested = ("--config-dir", "conf", "dataset=sinusoid", "+dataset@test_dataset.mine=tides", *SMALL)
    code, _, err = command(*tested, "hydra.run.dir=run")
    assert code == 0, err
    block = json.loads(Path("run/result.json").read_text())["test_datasets"]["mine"]
    assert block["meta_test"]["dataset"] == "Tides"
    code, _, err = command("mode=test", "checkpoint=run")
    assert (code, err.count("\n")) == (2, 1)
    assert "dataset=tides is not metarun's but of the folder" in err
    assert metarun.load("run").adapt([0.0, 1.0], [5.0, 5.0]) is not None
    edit("my_package/tides.py", "def task(self", "def no_task(self")
    for name in [name for name in sys.modules if name.startswith("my_package")]:
        del sys.modules[name]
    code, _, err = command(*tested)
    assert (code, err.count("\n")) == (2, 1)
    assert "test_dataset.mine=" in err or "test_dataset.mine:" in err


def test_from_python_too(command: Command, package: Path) -> None:
    assert command(*TIDES, "algorithm=smoother", "~algorithm.inner_lr", "hydra.run.dir=run")[0] == 2  # no such key
    small = [word for word in TIDES if "inner_lr" not in word]
    assert command(*small, "algorithm=smoother", "hydra.run.dir=run")[0] == 0
    learner = metarun.load("run", config_dir="conf")
    model = learner.adapt([0.0, 1.0], [5.0, 5.0])
    torch.testing.assert_close(model.predict([0.3]), torch.tensor([[5.0]]))
    with pytest.raises(UserError, match="config_dir=nowhere: no such folder"):
        metarun.load("run", config_dir="nowhere")
    with pytest.raises(UserError, match="steps=3: algorithm=smoother has no inner steps"):
        learner.adapt([0.0], [5.0], steps=3)


def test_modules_are_found_beside_the_config_dir(
    command: Command, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    flags = ("--config-dir", "../conf", *TIDES[2:])
    assert command(*flags, "hydra.run.dir=run")[0] == 0
    # In a package, beside the package.
    Path("../my_package/__init__.py").touch()
    Path("../conf").rename("../my_package/conf")
    sys.path[:] = [place for place in sys.path if place != str(package)]
    for name in [name for name in sys.modules if name.startswith("my_package")]:
        del sys.modules[name]
    code, _, err = command("--config-dir", "../my_package/conf", *TIDES[2:], "hydra.run.dir=other")
    assert code == 0, err
    assert sys.path[-1] == str(package), "last, so that nothing installed is hidden"


def test_without_the_flag_nothing_is_found_where_one_stands(command: Command, package: Path) -> None:
    before = list(sys.path)
    assert command("dataset=tides")[0] == 2
    assert sys.path == before


def test_user_model_embedding_and_hypernetwork_learn(command: Command, package: Path, tmp_path: Path) -> None:
    user_parts.find("conf")
    config = compose(["dataset=tides", *HEART], "conf")
    found = trained(user_parts.checked(plain(config, config.hydra.runtime.choices), "conf"), tmp_path)
    assert all(values.isfinite().all() for episodes in found.episodes for values in episodes.curves.values())
    for group in ("theta", "embedding", "hypernet"):
        for name, tensor in found.last[group].items():
            assert not torch.equal(tensor, found.first[group][name]), f"{name} of {group} does not move"
    assert falls(found)


SHARP = (
    "algorithm=sharp_maml", "algorithm.radius=0.3", "algorithm.inner_lr=0.05", "algorithm.outer.optimizer=sgd",
    "algorithm.outer.lr=0.1", "algorithm.outer.momentum=0", "algorithm.outer.schedule=constant", "model=mlp",
    "model.hidden=[5]", "dataset=tides", "dataset.shots=4", "engine.steps=3", "engine.val_every=3",
    "engine.meta_batch_size=4", "engine.val_episodes=2", "device.precision=float64", *SMALL[6:],
)  # fmt: skip


@pytest.mark.parametrize("radius", [0.0, 0.3])
def test_sharp_maml_equals_an_independent_computation(
    command: Command, package: Path, tmp_path: Path, radius: float
) -> None:
    """Three meta-updates, against second-order MAML and the ascent step written out with `torch.autograd`."""
    user_parts.find("conf")
    config = compose([*SHARP, f"algorithm.radius={radius}"], "conf")
    found = trained(user_parts.checked(plain(config, config.hydra.runtime.choices), "conf"), tmp_path)
    theta = found.first["theta"]
    for step in range(3):
        tasks = found.dataset.sample("train", step, 4)

        def loss(theta: dict[str, Tensor], tasks: TaskBatch = tasks) -> Tensor:
            losses = [maml_loss(theta, *(part[task] for part in (*tasks.support, *tasks.query))) for task in range(4)]
            return torch.stack(losses).mean()

        slopes = gradient(loss, theta)
        norm = sum(slope.square().sum() for slope in slopes.values()) ** 0.5
        ascent = {name: tensor + radius * slopes[name] / norm for name, tensor in theta.items()}
        sharp = gradient(loss, ascent)
        theta = {name: tensor - 0.1 * sharp[name] for name, tensor in theta.items()}
    torch.testing.assert_close(found.last["theta"], theta, rtol=1e-9, atol=1e-12)
    assert all(not tensor.equal(found.first["theta"][name]) for name, tensor in theta.items())


def maml_loss(theta: dict[str, Tensor], x: Tensor, y: Tensor, query: Tensor, wanted: Tensor) -> Tensor:
    """The error on the queries after one step of 0.05 on the support set, differentiable twice."""

    def error(theta: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        hidden = (x @ theta["layers.0.weight"].T + theta["layers.0.bias"]).relu()
        return (hidden @ theta["head.weight"].T + theta["head.bias"] - y).square().mean()

    slopes = torch.autograd.grad(error(theta, x, y), list(theta.values()), create_graph=True)
    adapted = {name: tensor - 0.05 * slope for (name, tensor), slope in zip(theta.items(), slopes, strict=True)}
    return error(adapted, query, wanted)


def gradient(loss: Callable[[dict[str, Tensor]], Tensor], theta: dict[str, Tensor]) -> dict[str, Tensor]:
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in theta.items()}
    return dict(zip(leaves, torch.autograd.grad(loss(leaves), list(leaves.values())), strict=True))


def test_poisson_loss_is_the_negative_log_likelihood(command: Command, package: Path) -> None:
    user_parts.find("conf")
    kind = importlib.import_module("my_package.counts").Poisson(2)
    prediction, y = torch.randn(6, 2, dtype=torch.float64), torch.poisson(torch.full((6, 2), 3.0, dtype=torch.float64))
    mask = torch.tensor([1.0, 1, 0, 1, 1, 0], dtype=torch.float64)
    constant = torch.lgamma(y + 1)
    wanted = -(torch.distributions.Poisson(prediction.exp()).log_prob(y) + constant).mean(-1)
    torch.testing.assert_close(kind.loss(prediction, y), wanted.mean())
    torch.testing.assert_close(kind.loss(prediction, y, mask), wanted[mask > 0].mean())
    metrics = kind.metrics(prediction, y)
    torch.testing.assert_close(metrics["mse"], (prediction.exp() - y).square().mean())
    assert metrics["nll"] == kind.loss(prediction, y)


@pytest.mark.parametrize("algorithm", ["maml", "cnp", "r2d2"])
def test_user_kind_is_saved_tested_and_loaded(command: Command, package: Path, algorithm: str) -> None:
    small = [word for word in SMALL if "inner_lr" not in word]
    counts = ("--config-dir", "conf", "dataset=counts", f"algorithm={algorithm}", *small)
    code, _, err = command(*counts, "hydra.run.dir=run")
    assert code == 0, err
    assert {"nll", "mse", "mae"} == numbers("run")["metrics"].keys()
    code, _, err = command("--config-dir", "conf", "mode=test", "checkpoint=run", "hydra.run.dir=tested")
    assert code == 0, err
    assert numbers("tested") == numbers("run")
    learner = metarun.load("run", config_dir="conf")
    assert (learner.adapt([0.0, 1.0, 2.0], [5, 0, 3]).predict([0.5, 1.5]) > 0).all(), "a rate"
    code, _, err = command(*counts, "likelihood=gaussian")
    assert (code, err) == (2, "metarun: likelihood=gaussian: the tasks are poisson, which takes poisson\n")


def test_documented_embedding_ignores_padding(command: Command, package: Path) -> None:
    user_parts.find("conf")
    MeanMap = importlib.import_module("my_package.mean_map").MeanMap
    torch.manual_seed(0)
    encoder = MeanMap(size=4, features=8).build(
        SimpleNamespace(inputs=InputSpec.of((3,))), SimpleNamespace(kind=Regression(1))
    )
    x, y = torch.randn(5, 3), torch.randn(5, 1)
    wanted = encoder(EmbeddingInputs(Examples(x, y), y, torch.tensor(0), torch.zeros(0)), None, False)
    rows = [torch.cat((part, torch.full((2, part.shape[1]), 7.0))) for part in (x, y)]
    padded = PaddedExamples(*rows, torch.tensor([1.0] * 5 + [0.0] * 2))
    found = encoder(EmbeddingInputs(padded, rows[1], torch.tensor(0), torch.zeros(0)), None, False)
    torch.testing.assert_close(found, wanted)


def test_hydra_searchpath_is_refused_with_the_flag(command: Command, package: Path) -> None:
    code, _, err = command("hydra.searchpath=[file://conf]", "dataset=tides")
    assert (code, err.count("\n")) == (2, 1), err
    assert "give the folder of your own YAML files as --config-dir FOLDER" in err


def test_sweep_with_user_algorithms(command: Command, package: Path) -> None:
    small = [word for word in TIDES if "inner_lr" not in word]
    code, _, err = command("-m", *small, "algorithm=sign_maml,smoother", "hydra.sweep.dir=sweep")
    assert code == 0, err
    assert Path("sweep/algorithm=sign_maml/result.json").exists()
    assert Path("sweep/algorithm=smoother/result.json").exists()


def test_sweep_with_user_hypernetwork_and_embedding(command: Command, package: Path) -> None:
    together = "hypernet+embedding=subspace+mean_map,film+mean_map"
    own = [word for word in HEART if not word.startswith(("hypernet", "embedding"))]
    code, _, err = command("-m", "--config-dir", "conf", "dataset=tides", *own, together, "hydra.sweep.dir=sweep")
    assert code == 0, err
    assert len(list(Path("sweep").glob("*/result.json"))) == 2


MISTAKES = {
    "no such module": (
        "conf/dataset/tides.yaml", "my_package.tides.Tides", "my_pakage.tides.Tides",
        "dataset=tides: _target_ my_pakage.tides.Tides cannot be imported: No module named 'my_pakage'",
    ),
    "no such class": (
        "conf/dataset/tides.yaml", "tides.Tides", "tides.Tide",
        "dataset=tides: _target_ my_package.tides.Tide cannot be imported: no 'Tide' in my_package.tides; did you mean "
        "'Tides'?",
    ),
    "a field without key": (
        "conf/dataset/tides.yaml", "noise: 0.1", "",
        "dataset.noise: missing; a number of at least 0 is expected",
    ),
    "a key without field": (
        "conf/dataset/tides.yaml", "noise: 0.1", "noise: 0.1\nnoize: 1",
        "dataset.noize=1: no key 'noize' in dataset=tides; did you mean 'dataset.noise'?",
    ),
    "no method": (
        "my_package/tides.py", "def task(", "def tusk(",
        "dataset=tides: my_package.tides.Tides lacks methods of its base class: task",
    ),
    "no dataclass": (
        "my_package/tides.py", "@dataclass(kw_only=True)", "",
        "dataset=tides: _target_ my_package.tides.Tides is not a dataclass",
    ),
    "no base": (
        "my_package/tides.py", "class Tides(UserTasks)", "class Tides",
        "dataset=tides: my_package.tides.Tides has no method 'load', which a dataset needs",
    ),
    "not Python": (
        "my_package/tides.py", "kind = Regression()", "kind = Regression(",
        "dataset=tides: _target_ my_package.tides.Tides cannot be imported: HERE/my_package/tides.py, line 17: ",
    ),
    "an error when imported": (
        "my_package/tides.py", "kind = Regression()", "kind = Regresion()",
        "dataset=tides: _target_ my_package.tides.Tides cannot be imported: HERE/my_package/tides.py, line 17: NameEr",
    ),
    "a type that no file holds": (
        "my_package/tides.py", "noise: float", "noise: np.ndarray",
        "dataset.noise: a field of type <class 'numpy.ndarray'> in my_package.tides.Tides cannot be read from a",
    ),
    "a type that is not known": (
        "my_package/tides.py", "noise: float", "noise: 'flaot'",
        "dataset=tides: my_package.tides.Tides has a field whose type is not known: name 'flaot' is not defined",
    ),
    "no attribute": (
        "my_package/tides.py", "input_shape = (1,)", "",
        "Tides has no attribute 'input_shape', which says what its tasks are",
    ),
    "a wrong shape": (
        "my_package/tides.py", "x = hours / 12 - 1", "x = hours.reshape(-1, 1, 1)",
        "Tides.task('train') of task 0: support_x has shape (10, 1, 1), where (n, 1) is expected",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(
    command: Command, package: Path, file: str, old: str, new: str, expected: str
) -> None:
    edit(file, old, new)
    code, _, err = command(*TIDES, "hydra.run.dir=run")
    assert (code, err.count("\n")) == (2, 1), err
    assert err.startswith(f"metarun: {expected.replace('HERE', str(package))}")
    assert not Path("run").exists()


def test_error_in_user_code_before_the_run_has_a_traceback(command: Command, package: Path) -> None:
    edit("my_package/tides.py", "x = hours / 12 - 1", "x = hours @ np.zeros(7)")
    code, _, err = command(*TIDES, "hydra.run.dir=run")
    assert code == 2
    place = f"{package / 'my_package' / 'tides.py'}, line 24"
    assert err.splitlines()[-1].startswith(f"metarun: an error in your code, {place}: ValueError: matmul: ")
    assert err.startswith("Traceback (most recent call last)")
    assert "bug" not in err
    assert not Path("run").exists()


def test_error_in_user_code_during_the_run_is_logged(command: Command, package: Path) -> None:
    lines = (
        "    def draws(self, tasks, testing, progress):",
        "        return tasks.none if testing else super().draws(tasks, testing, progress)",
    )
    edit("my_package/sign_maml.py", "    def direction", "\n".join((*lines, "", "    def direction")))
    code, _, err = command(*TIDES, "algorithm=sign_maml", "hydra.run.dir=run")
    assert (code, err.count("\n")) == (2, 1), err
    place = f"{package / 'my_package' / 'sign_maml.py'}, line 11"
    assert err.startswith(f"metarun: an error in your code, {place}: AttributeError: 'Task' object has no")
    assert err.endswith(f"(traceback in {package / 'run' / 'metarun.log'})\n")
    log = Path("run/metarun.log").read_text()
    assert "Traceback (most recent call last)" in log
    assert "sign_maml.py" in log
    status = json.loads(Path("run/status.json").read_text())
    assert (status["status"], status["reason"][:26]) == ("failed", "an error in your code, /tm")


def test_error_in_user_algorithm_is_found_before_the_run(command: Command, package: Path) -> None:
    edit("my_package/sign_maml.py", "slope.sign()", "slope.sing()")
    code, _, err = command(*TIDES, "algorithm=sign_maml", "hydra.run.dir=run")
    assert code == 2
    assert "sign_maml.py, line 11: AttributeError: 'Tensor' object has no" in err.splitlines()[-1]
    assert not Path("run").exists()


def test_wrong_shape_of_user_predictions_is_one_line(command: Command, package: Path) -> None:
    edit("my_package/smoother.py", "@ support.y", "@ support.y.flatten()")
    small = [word for word in TIDES if "inner_lr" not in word]
    for mode in ("train", "info"):
        code, _, err = command(*small, "algorithm=smoother", f"mode={mode}", "hydra.run.dir=run")
        assert (code, err.count("\n")) == (2, 1), err
        said = "my_package.smoother.Smoother.predict returns [20], where [20, 1] is expected"
        assert err == f"metarun: algorithm=smoother: {said}\n"
    assert not Path("run").exists()


def test_error_in_user_code_of_a_job_is_a_user_error(command: Command, package: Path) -> None:
    edit("my_package/sign_maml.py", "slope.sign()", "slope.sing()")
    code, _, err = command("-m", *TIDES, "algorithm=sign_maml", "seed=0,1", "hydra.sweep.dir=sweep")
    assert code == 2
    assert "2 of 2 jobs ended, 2 failed; the first failure: seed=0: an error in your code" in err
    assert "is a bug" not in err
    assert "Traceback" in Path("sweep/seed=1/metarun.log").read_text()


def test_error_in_user_dataclass_is_a_user_error(command: Command, package: Path) -> None:
    edit("my_package/tides.py", "    kind =", "    def __post_init__(self):\n        self.noise / 0\n\n    kind =")
    code, _, err = command(*TIDES)
    assert code == 2
    assert "an error in your code" in err
    assert "ZeroDivisionError" in err


def test_only_user_code_is_blamed() -> None:
    plain = {"dataset": {"_target_": "my_package.tides.Tides"}, "model": {"_target_": "metarun.models.mlp.MLP"}}
    assert user_parts.packages(plain) == {"my_package"}
    with pytest.raises(ZeroDivisionError), user_parts.blaming(plain):
        1 / 0  # noqa: B018
    here = {"dataset": {"_target_": f"{__name__}.Thing"}}
    told = r"test_user_parts.py, line \d+: ZeroDivisionError: "
    with pytest.raises(UserCodeError, match=told), user_parts.blaming(here):
        1 / 0  # noqa: B018


def test_error_of_unknown_origin_names_both_packages(command: Command, package: Path) -> None:
    lines = (
        "    def draws(self, tasks, testing, progress, *rest):",
        "        return {'odd': torch.zeros(3)} if testing else {}",
    )
    edit("my_package/smoother.py", "    def predict", "\n".join((*lines, "", "    def predict")))
    small = [word for word in TIDES if "inner_lr" not in word]
    code, _, err = command(*small, "algorithm=smoother", "hydra.run.dir=run")
    assert (code, err.count("\n")) == (1, 1), err
    assert err.startswith("metarun: this is a bug, metarun's or one of my_package, which this run uses: ValueError: ")
