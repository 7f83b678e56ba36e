"""A run's meta-learner from Python: the runner's own numbers, a user's own examples, and everything checked."""

import csv
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import CPU, task_of
from checkpoints import content_of
from documents import DOCS
from hydra.core.global_hydra import GlobalHydra
from torch.utils._pytree import tree_leaves, tree_map

import metarun
from metarun.command import cli
from metarun.core import tensor_file
from metarun.core.errors import UserError
from metarun.core.tasks import Task, TaskBatch
from metarun.meta_learner import MetaLearner
from metarun.runs.checkpoint import FORMAT
from metarun.runs.files import BEST, LAST

ENGINE = (
    "engine.steps=4", "engine.meta_batch_size=3", "engine.val_every=2", "engine.val_episodes=4",
    "engine.test_episodes=40", "engine.checkpoint_every=2", "device.name=cpu", "device.threads=1",
    "device.compile=false", "tracking=scalars",
)  # fmt: skip
WAVES = ("dataset=sinusoid", "model=mlp", "model.hidden=[8,8]", "engine.task_chunk=16", *ENGINE)
LETTERS = ("dataset=glyphs", "dataset.queries=2", "model.channels=4", "model.layers=2", *ENGINE)


def shape(sizes: list[Any]) -> dict[str, Any]:
    """One input of this shape, as a checkpoint has it."""
    return {"": {"shape": sizes, "optional": False}}


KINDS = ("kind", "training_kind")
RATE = "algorithm.inner_lr=0.01"
RUNS = {
    "waves": (*WAVES, RATE, "dataset.noise=0.1"),
    "reptile": (*WAVES, RATE, "algorithm=reptile", "algorithm.minibatch=4"),
    "precise": (*WAVES, RATE, "device.precision=float64", "algorithm=scratch"),
    "gaussian": (*WAVES, RATE, "likelihood=gaussian"),
    "described": (*WAVES, RATE, "embedding=descriptor", "hypernet=film"),
    "known": (*WAVES, RATE, "embedding=learned", "hypernet=film", "dataset.tasks=5"),
    "letters": (*LETTERS, "algorithm.inner_lr=0.1", "algorithm.test_steps=2"),
    "protonet": (*LETTERS, "algorithm=protonet", "engine.transductive=true"),
    "statistics": (*LETTERS, "algorithm=r2d2", "model.normalization=global"),
    "table": (
        "dataset=table", "dataset.path=table.csv", "dataset.split=tasks", "model=mlp", "model.hidden=[6]", RATE,
        "dataset.fractions=[0.4,0.3,0.3]", *ENGINE,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all of the runs."""
    folder = tmp_path_factory.mktemp("runs")
    rows = [f"{task},{x},{x * task % 5}" for task in range(10) for x in range(4 + task)]
    (folder / "table.csv").write_text("\n".join(["task,x,target", *rows]))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, overrides in RUNS.items():
            assert cli.main([*overrides, f"hydra.run.dir={name}"]) == 0, name
        yield folder


@pytest.fixture
def waves(runs: Path) -> MetaLearner:
    return metarun.load(runs / "waves")


def meta_test_tasks(learner: MetaLearner, count: int) -> TaskBatch:
    """The meta-test tasks of its run."""
    settings = learner.settings
    return settings.load_dataset(CPU).sample("test", 0, count)


def alone(batch: TaskBatch) -> list[Task]:
    return [task_of(batch, number) for number in range(len(batch.number))]


@pytest.mark.parametrize("name", RUNS)
def test_evaluating_the_runs_tasks_gives_the_runs_numbers_exactly(
    name: str, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    with (runs / name / "episodes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    learner = metarun.load(runs / name)
    tasks = meta_test_tasks(learner, len(rows))
    result = learner.evaluate(tasks)
    for metric, told in result.items():
        assert told["each_after"] == [float(row[metric]) for row in rows]
        assert told["each_before"] == [float(row[f"{metric}_before"]) for row in rows]
        assert told["after"] == pytest.approx(np.mean(told["each_after"]))
        assert told["curve"][0] == told["before"]
        assert told["curve"][-1] == told["after"]
        assert len(told["curve"]) == 1 + learner.settings.algorithm.steps(testing=True)
    # One by one they are the same but for rounding.
    listed = learner.evaluate(alone(tasks)[:3])
    for metric, told in listed.items():
        assert told["each_after"] == pytest.approx(result[metric]["each_after"][:3], rel=1e-4)


def test_several_tasks_come_with_an_interval(waves: MetaLearner) -> None:
    tasks = alone(meta_test_tasks(waves, 5))
    several, each = waves.evaluate(tasks)["mse"], [waves.evaluate(task)["mse"] for task in tasks]
    assert several["each_after"] == pytest.approx([one["after"] for one in each], rel=1e-5)
    after = np.array(several["each_after"])
    assert several["ci95"] == pytest.approx(2.776 * after.std(ddof=1) / 5**0.5, rel=0.01)
    assert each[0].keys() == {"before", "after", "curve"}


def test_visits_to_one_task_count_as_one(waves: MetaLearner) -> None:
    visits = [0, 1, 2, 0, 1, 2]
    told = waves.evaluate(meta_test_tasks(waves, 6)._replace(source=torch.tensor(visits)))["mse"]
    by_task = np.array(told["each_after"]).reshape(2, 3).mean(0)
    assert told["ci95"] == pytest.approx(4.302653 * by_task.std(ddof=1) / 3**0.5, rel=1e-6)


def test_tasks_of_unlike_sizes_go_together(waves: MetaLearner) -> None:
    task = alone(meta_test_tasks(waves, 1))[0]
    shorter = task._replace(support=task.support.rows(torch.arange(4)))
    both = waves.evaluate([task, shorter])["mse"]
    assert both["each_after"] == pytest.approx([waves.evaluate(each)["mse"]["after"] for each in (task, shorter)])


@pytest.mark.parametrize("name", ["waves", "gaussian", "described", "letters", "protonet", "reptile", "precise"])
def test_adapting_and_evaluating_agree(name: str, runs: Path) -> None:
    learner = metarun.load(runs / name)
    task = alone(meta_test_tasks(learner, 1))[0]
    model = learner.adapt(task)
    predicted, metric = model.predict(task.query.x), learner.kind.metric
    if metric == "accuracy":
        after = (predicted == task.query.y).double().mean().item()
        torch.testing.assert_close(model.logits(task.query.x).softmax(-1), model.probabilities(task.query.x))
    elif metric == "nll":
        normal = torch.distributions.Normal(predicted, model.std(task.query.x))
        after = -normal.log_prob(task.query.y).mean().item()
    else:
        after = (predicted - task.query.y).square().mean().item()
    assert learner.evaluate(task)[metric]["after"] == pytest.approx(after, rel=1e-5)


def test_arrays_are_a_task_too(waves: MetaLearner) -> None:
    task = alone(meta_test_tasks(waves, 1))[0]
    x, y = (tensor.numpy().astype(np.float64) for tensor in task.support)
    same = waves.adapt(x.ravel(), y.ravel().tolist()).predict(task.query.x)
    torch.testing.assert_close(same, waves.adapt(task).predict(task.query.x), rtol=0, atol=0)
    pairs = waves.evaluate(support=(x, y), query=tuple(task.query))
    assert pairs == waves.evaluate(task)


def test_minibatches_are_those_of_the_tasks_number(runs: Path) -> None:
    learner = metarun.load(runs / "reptile")
    tasks = alone(meta_test_tasks(learner, 4))
    renumbered = tasks[3]._replace(number=tasks[2].number)
    one, other = (learner.adapt(task).parameters["head.weight"] for task in (tasks[3], renumbered))
    assert not torch.equal(one, other)
    torch.testing.assert_close(
        learner.evaluate(tasks[3])["mse"]["after"],
        (learner.adapt(tasks[3]).predict(tasks[3].query.x) - tasks[3].query.y).square().mean().item(),
    )


def test_number_of_steps_can_be_set(waves: MetaLearner) -> None:
    task = alone(meta_test_tasks(waves, 1))[0]
    assert waves.settings.algorithm.steps(testing=True) == 1
    five = waves.evaluate(task, steps=5)["mse"]["curve"]
    assert five[:2] == pytest.approx(waves.evaluate(task)["mse"]["curve"])
    assert len(five) == 6
    none = waves.adapt(task, steps=0)
    torch.testing.assert_close(none.parameters, waves.phi["theta"], rtol=0, atol=0)


def test_steps_of_a_baseline(runs: Path) -> None:
    learner = metarun.load(runs / "precise")
    task = alone(meta_test_tasks(learner, 1))[0]
    assert len(learner.evaluate(task, steps=2)["mse"]["curve"]) == 3
    assert learner.adapt(task).parameters["head.bias"].dtype == torch.float64


def test_nothing_changes_the_learner(waves: MetaLearner) -> None:
    before = tree_map(torch.clone, waves.phi)
    task = alone(meta_test_tasks(waves, 1))[0]
    model = waves.adapt(task)
    first = model.predict(task.query.x)
    for tensor in (*tree_leaves(waves.phi), *model.parameters.values()):
        tensor.zero_()
    waves.adapt([0.0], [100.0])
    waves.evaluate(task)
    torch.testing.assert_close(waves.phi, before, rtol=0, atol=0)
    assert torch.equal(model.predict(task.query.x), first)
    assert torch.equal(waves.adapt(task).predict(task.query.x), first)


def test_the_users_arrays_may_change_afterwards(waves: MetaLearner) -> None:
    x, y = torch.linspace(-1, 1, 5), torch.ones(5)
    model = waves.adapt(x, y)
    before = model.predict(x)
    y.zero_()
    assert torch.equal(model.predict(x.clone()), before)


def test_predictions_are_inductive(runs: Path) -> None:
    learner = metarun.load(runs / "letters")
    task = alone(meta_test_tasks(learner, 1))[0]
    model = learner.adapt(task)
    together = model.logits(task.query.x)
    for row in range(3):
        torch.testing.assert_close(model.logits(task.query.x[row : row + 1])[0], together[row], rtol=1e-4, atol=1e-5)


def test_threads_take_turns(waves: MetaLearner) -> None:
    """Calling one module with parameters of several tasks at once would mix them."""
    tasks = alone(meta_test_tasks(waves, 8))
    models = [waves.adapt(task) for task in tasks]
    expected = [model.predict(task.query.x) for model, task in zip(models, tasks, strict=True)]
    wrong: list[str] = []

    def work(number: int, adapting: bool) -> None:
        x = tasks[number].query.x
        for _ in range(20 if adapting else 100):
            model = waves.adapt(tasks[number]) if adapting else models[number]
            if not torch.equal(model.predict(x), expected[number]):
                wrong.append(f"{number} {adapting}")

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for adapting in (True, False):
            workers = [threading.Thread(target=work, args=(number, adapting)) for number in range(8)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
    finally:
        sys.setswitchinterval(before)
    assert not wrong


def test_tasks_at_once_as_in_a_run(waves: MetaLearner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding may depend on it, so the last batch is filled up."""
    sizes: list[int] = []
    kind = type(waves.settings.algorithm)
    draws = kind.draws

    def noted(self: Any, tasks: TaskBatch, testing: bool, progress: float) -> Any:
        sizes.append(len(tasks.number))
        return draws(self, tasks, testing, progress)

    monkeypatch.setattr(kind, "draws", noted)
    assert len(waves.evaluate(meta_test_tasks(waves, 40))["mse"]["each_after"]) == 40
    assert sizes == [16, 16, 16]


def test_a_described_task_needs_its_description(runs: Path) -> None:
    learner = metarun.load(runs / "described")
    x, y = [0.0, 1.0], [0.0, 1.0]
    with pytest.raises(UserError, match="embedding is made from a descriptor: give descriptor=, 2 numbers"):
        learner.adapt(x, y)
    one, other = (learner.adapt(x, y, descriptor=told).predict(x) for told in ([0.5, 0.5], [-0.5, 0.0]))
    assert not torch.equal(one, other)
    with pytest.raises(UserError, match=r"descriptor has shape \(1, 3\), where \(n, 2\) is expected"):
        learner.adapt(x, y, descriptor=[1, 2, 3])
    metarun.load(runs / "waves").adapt(x, y)  # its dataset describes tasks, and nothing looks


def test_a_known_task_may_be_named(runs: Path) -> None:
    learner = metarun.load(runs / "known")
    x, y = [0.0, 1.0], [0.0, 1.0]
    zero, one, unknown = (learner.adapt(x, y, identity=number).predict(x) for number in (0, 1, None))
    assert not torch.equal(zero, one)
    assert not torch.equal(zero, unknown)
    with pytest.raises(UserError, match="identity=5: there are 5 known tasks, 0 to 4"):
        learner.adapt(x, y, identity=5)
    with pytest.raises(UserError, match="identity=0: this run keeps nothing of single training tasks"):
        metarun.load(runs / "waves").adapt(x, y, identity=0)


def test_properties_of_a_learner(runs: Path) -> None:
    learner = metarun.load(str(runs / "letters"))
    assert (learner.kind.outputs, learner.input_shape) == (5, (1, 28, 28))
    assert learner.settings.plain["choices"]["algorithm"] == "maml"
    assert set(learner.phi) == {"theta", "embedding", "hypernet", "algorithm", "memory"}


def test_best_last_and_files(runs: Path) -> None:
    folder = runs / "waves"
    best, last = metarun.load(folder), metarun.load(folder, checkpoint="last")
    for learner, name in ((best, "best"), (last, "last")):
        file = folder / {"best": BEST, "last": LAST}[name]
        saved = content_of(file)["state"]["phi"]
        torch.testing.assert_close(learner.phi, saved, rtol=0, atol=0)
        for other in (metarun.load(file), metarun.load(folder, checkpoint=file)):
            torch.testing.assert_close(other.phi, saved, rtol=0, atol=0)


def test_the_data_need_not_be_there(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name, shape in (("table", (1,)), ("letters", (1, 28, 28))):
        shutil.copy(runs / name / BEST, tmp_path / "alone.safetensors")
        learner = metarun.load("alone.safetensors")
        assert learner.input_shape == shape
        x = np.zeros((5, *shape))
        learner.adapt(x, np.arange(5)).predict(x)
        assert [path.name for path in tmp_path.iterdir()] == ["alone.safetensors"]


def test_running_hydra_is_not_changed(runs: Path) -> None:
    from hydra import initialize_config_module

    with initialize_config_module("metarun.conf", version_base="1.3"):
        theirs = GlobalHydra.instance().hydra
        metarun.load(runs / "waves")
        assert GlobalHydra.instance().hydra is theirs


def test_random_numbers_and_threads_are_left_alone(runs: Path) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    metarun.load(runs / "waves").adapt([0.0], [1.0])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu(runs: Path) -> None:
    here, there = (metarun.load(runs / "letters", device=device) for device in ("cpu", "cuda"))
    task = alone(meta_test_tasks(here, 1))[0]
    model = there.adapt(task)
    assert model.predict(task.query.x).device.type == "cuda"
    torch.testing.assert_close(
        model.logits(task.query.x).cpu(), here.adapt(task).logits(task.query.x), rtol=1e-2, atol=1e-2
    )
    assert there.evaluate(task)["loss"]["after"] == pytest.approx(here.evaluate(task)["loss"]["after"], rel=1e-2)


def test_importing_is_light() -> None:
    program = "import sys, metarun; metarun.load; sys.exit('torch' in sys.modules or 'hydra' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=DOCS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folders_without_a_run(runs: Path, tmp_path: Path) -> None:
    load = metarun.load
    assert refused(lambda: load(tmp_path / "nowhere")).endswith("nowhere: no such folder")
    assert f"has no {BEST}: not a run's folder, or nothing" in refused(lambda: load(tmp_path))
    assert refused(lambda: load(tmp_path, checkpoint="beste")) == (
        "checkpoint=beste: no such file; give best, last or a .safetensors file"
    )
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(runs / "waves" / LAST, tmp_path / "checkpoints")
    assert refused(lambda: load(tmp_path)).endswith(f"has no {BEST}; give checkpoint='last'")
    assert "choose auto, cpu, cuda or cuda:N" in refused(lambda: load(runs / "waves", device="gpu"))
    (tmp_path / "rubbish.safetensors").write_bytes(b"rubbish")
    assert "not a checkpoint of metarun, or a damaged one" in refused(lambda: load(tmp_path / "rubbish.safetensors"))


def changed(runs: Path, tmp_path: Path, change: Callable[[Any], Any]) -> str:
    """What is said of a checkpoint that was tampered with."""
    content = content_of(runs / "waves" / BEST)
    change(content)
    tensor_file.write(tmp_path / "changed.safetensors", content)
    return refused(lambda: metarun.load(tmp_path / "changed.safetensors"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c.update(format=2), f"not a checkpoint of this version of metarun (format {FORMAT})"),
        (lambda c: c.pop("problem"), "a broken checkpoint (format, config, problem and state are expected)"),
        (lambda c: c["problem"].update(kind=3), "a broken checkpoint (problem.kind: a dict is expected)"),
        (lambda c: c["problem"].update(known_tasks=-1), "a broken checkpoint (problem)"),
        (lambda c: c["problem"].update(more=1), "a broken checkpoint"),
        (lambda c: c["problem"].update(inputs=shape([0])), "a broken checkpoint (problem.inputs)"),
        (
            lambda c: c["problem"].update(inputs=shape([1.0])),
            "(problem.inputs.shape[0]: int is expected)",
        ),
        (lambda c: c["problem"].update(inputs=None), "a broken checkpoint"),
        (lambda c: c["problem"].update(name=None), "a broken checkpoint (problem)"),
        (lambda c: c["problem"]["kind"].update(name="regresion"), "a broken checkpoint ('regresion')"),
        (lambda c: c["problem"]["kind"].update(dimensions="1"), "(problem.kind.dimensions: int is expected)"),
        (lambda c: c["problem"]["kind"].update(metric=None), "(problem.kind.metric: str is expected)"),
        (
            lambda c: [c["problem"][kind].update(dimensions=2) for kind in KINDS],
            "'head.weight' of theta has shape (1, 8) there, and",
        ),
        (lambda c: c["problem"].update(inputs=shape([3])), "'layers.0.weight' of theta has shape (8, 1) there, and"),
        (lambda c: c.update(config=None), "not the configuration of a metarun run"),
        (lambda c: c["config"]["algorithm"].update(nonsense=1), "'nonsense'"),
        (lambda c: c["config"]["model"].update(hidden=[8, -1]), "model.hidden=[8,-1]: "),
        (lambda c: c["config"]["choices"].update(algorithm="mmal"), "algorithm=mmal: no such algorithm; did you mean"),
        (lambda c: c["state"]["phi"]["theta"]["head.bias"].fill_(torch.nan), "holds parameters that are not finite"),
    ],
)
def test_a_changed_checkpoint_is_refused(runs: Path, tmp_path: Path, change: Any, expected: str) -> None:
    assert expected in changed(runs, tmp_path, change)


def test_a_class_named_in_a_checkpoint_is_not_imported(runs: Path, tmp_path: Path) -> None:
    content = content_of(runs / "waves" / BEST)
    content["config"]["algorithm"]["_target_"] = "antigravity.Fly"
    tensor_file.write(tmp_path / "changed.safetensors", content)
    assert metarun.load(tmp_path / "changed.safetensors").settings.plain["algorithm"]["_target_"].startswith("metarun.")
    assert "antigravity" not in sys.modules


def test_invalid_examples(runs: Path) -> None:
    waves, letters = metarun.load(runs / "waves"), metarun.load(runs / "letters")
    image = np.zeros((2, 1, 28, 28))
    model = waves.adapt([1.0], [1.0])
    said = {
        "x has shape (2, 2), where (n, 1) is expected": lambda: waves.adapt(np.zeros((2, 2)), [0, 1]),
        "x is empty; give at least one example": lambda: waves.adapt([], []),
        "x has 2 rows and y 1": lambda: waves.adapt([1, 2], [1]),
        "y holds values of type object": lambda: waves.adapt([1.0]),
        "x holds a value that is not finite as float32 (row 1)": lambda: waves.adapt([0, np.inf], [1, 2]),
        "y holds class 5; there are 5 classes, 0 to 4": lambda: letters.adapt(image, [0, 5]),
        "y holds values of type float64, where class numbers": lambda: letters.adapt(image, [0.0, 1.0]),
        "steps=-1: an integer of at least 0 is expected": lambda: waves.adapt([1], [1], steps=-1),
        "steps=1.0: an integer of": lambda: waves.adapt([1], [1], steps=1.0),  # type: ignore[arg-type]
        "adapting to these examples diverged": lambda: waves.adapt([1e18], [1e18], steps=30),
        "x has shape (1, 2), where (n, 1)": lambda: model.predict([[1, 2]]),
        "this meta-learner does regression, which has no probabilities": lambda: model.probabilities([1.0]),
        "this meta-learner does regression, which has no std; use predict(x)": lambda: model.std([1.0]),
        "evaluate: give a task, several tasks, or support=": lambda: waves.evaluate(support=([1], [1])),
        "give support x and support y, a pair of arrays": lambda: waves.evaluate(support=[1], query=([1], [1])),
        "query y is empty": lambda: waves.evaluate(support=([1], [1]), query=([1], [])),
        "evaluate: give a task, or a list of at least one": lambda: waves.evaluate([]),
        "descriptor has shape": lambda: waves.adapt([1], [1], descriptor=[1]),
        "descriptor: the dataset of this run describes no tasks": lambda: letters.adapt(image, [0, 1], descriptor=[1]),
    }
    for expected, call in said.items():
        assert refused(call).startswith(expected)


def test_invalid_tasks(runs: Path) -> None:
    waves, letters = metarun.load(runs / "waves"), metarun.load(runs / "letters")
    batch = meta_test_tasks(waves, 2)
    task = alone(batch)[0]
    refusals = {
        "this is a batch of tasks, where a single one is expected": lambda: waves.adapt(batch),
        "y does not go with a task, which has its own": lambda: waves.adapt(task, [1]),
        "support does not go with a task": lambda: waves.evaluate(task, support=([1], [1])),
        "the task's support inputs have shape (1,), and this run's (1, 28, 28)": lambda: letters.adapt(task),
        "the task's support labels are not targets of 1 dimension,": lambda: waves.adapt(
            task._replace(support=task.support._replace(y=torch.zeros(10, dtype=torch.int64)))
        ),
        "the task's query labels are not targets": lambda: waves.evaluate(
            task._replace(query=task.query._replace(y=torch.zeros(10, 2)))
        ),
        "the task has a descriptor of 0 numbers, and this run's tasks have 2": lambda: waves.adapt(
            task._replace(descriptor=torch.zeros(0))
        ),
    }
    for expected, call in refusals.items():
        assert refused(call).startswith(expected)
