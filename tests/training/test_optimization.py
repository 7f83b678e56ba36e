"""``mode=optimize``: whole runs, tiny, through the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tuning
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metarun.core.errors import Interrupted
from metarun.hpo import records
from metarun.training import optimization

Command = Callable[..., tuple[int, str, str]]

ENGINE = (
    "engine.steps=4", "engine.meta_batch_size=3", "engine.val_every=2", "engine.val_episodes=5",
    "engine.test_episodes=7", "device.name=cpu", "device.threads=1", "device.compile=false", "tracking=scalars",
    "model=mlp", "model.hidden=[8]", "dataset.shots=3", "dataset.train_shots=6", "dataset.train_queries=4",
)  # fmt: skip
HPO = ("mode=optimize", "hpo.trials=6", "hpo.report=[1,6]", "hpo.seeds=2", "hpo.initial=2")


@pytest.fixture
def data(tmp_path: Path) -> str:
    return f"dataset.path={tuning.written(tmp_path / 'tuning')}"


def test_all_methods_on_all_new_tasks(command: Command, data: str) -> None:
    code, out, err = command(*HPO, "dataset=configurations", data, "algorithm=cnp", *ENGINE, "hydra.run.dir=run")
    assert code == 0, err
    folder = Path("run")
    assert json.loads((folder / "status.json").read_text())["status"] == "done"
    assert (folder / "result.json").is_file()
    content = json.loads((folder / "optimization.json").read_text())
    table = tuning.table()
    found = records.read(folder / "optimization.csv")
    tasks = {row.task for row in found}
    assert content["tasks"] == len(tasks) == 12 - content["past_tasks"]
    assert len(found) == 8 * len(tasks) * 2 * 6
    for row in found:
        losses = table.scores["error"][table.tasks.index(row.task)]
        assert row.loss == pytest.approx(losses[table.identifiers.index(row.configuration)])
    # The figures again, from the rows alone.
    for method, told in content["methods"].items():
        by_task = []
        for task in tasks:
            losses = table.scores["error"][table.tasks.index(task)]
            lowest = [
                min(row.loss for row in found if (row.method, row.task, row.seed) == (method, task, seed))
                for seed in range(2)
            ]
            by_task.append((np.mean(lowest) - losses.min()) / (losses.max() - losses.min()))
        assert told["6"]["regret"]["mean"] == pytest.approx(np.mean(by_task))
        assert f"  {method} " in out
    assert "normalized regret" in out
    assert content["paired"]["learned"].keys() == content["methods"].keys() - {"learned"}
    for name in ("regret.png", "ranks.png"):
        assert (folder / name).read_bytes()[1:4] == b"PNG"
    events = EventAccumulator("run")
    events.Reload()
    curve = [event.value for event in events.Scalars("optimization regret/learned")]
    assert len(curve) == 6
    assert curve[-1] == pytest.approx(content["methods"]["learned"]["6"]["regret"]["mean"], abs=1e-6)


@pytest.mark.parametrize("figure", ["regret_figure", "rank_figure"])
def test_a_figure_that_cannot_be_drawn_costs_no_result(
    command: Command, data: str, figure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(*given: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(optimization, figure, planted)
    few = ("hpo.methods=[random,portfolio]", "hpo.seeds=1")
    code, out, err = command(*HPO, *few, "dataset=configurations", data, "algorithm=cnp", *ENGINE, "hydra.run.dir=run")
    assert code == 0, err
    assert Path("run/result.json").is_file()
    assert Path("run/optimization.json").is_file()
    assert "not drawn: " in out + err
    assert len(list(Path("run").glob("*.png"))) == 1


def test_a_stopped_run_is_resumed_with_its_optimization(
    command: Command, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise Interrupted("stopped during the optimization")

    base = ("dataset=configurations", data, "algorithm=cnp", *ENGINE, "hpo.methods=[random,learned]")
    with monkeypatch.context() as patch:
        patch.setattr("metarun.modes.optimize.optimize", stopped)
        assert command(*HPO, *base, "hydra.run.dir=run")[0] == 130
    assert not Path("run/result.json").exists()
    assert command("resume=run")[0] == 0
    assert command(*HPO, *base, "hydra.run.dir=whole")[0] == 0
    for name in ("optimization.csv", "optimization.json"):
        assert Path("run", name).read_text() == Path("whole", name).read_text()


def test_a_checkpoint_and_an_ensemble(command: Command, data: str) -> None:
    train = ("dataset=configurations", data, *ENGINE)
    assert command(*train, "algorithm=cnp", "hydra.run.dir=first")[0] == 0
    assert command(*train, "algorithm=transformer", "likelihood=gaussian", "hydra.run.dir=second")[0] == 0
    assert command(*train, "algorithm=cnp", "seed=1", "hydra.run.dir=other_split")[0] == 0
    chosen = ("checkpoint=first", "hpo.methods=[random,learned,ensemble]", "hpo.ensemble=[second]")
    code, _, err = command(*HPO, *chosen, "hydra.run.dir=third")
    assert code == 0, err
    content = json.loads(Path("third/optimization.json").read_text())
    assert list(content["methods"]) == ["random", "learned", "ensemble"]
    assert list(content["paired"]) == ["ensemble"]
    code, _, err = command(*HPO, *chosen[:2], "hpo.ensemble=[other_split]", "hydra.run.dir=fourth")
    assert code == 2
    assert "hpo.ensemble=other_split: was trained on other data, or on another split of these" in err
    code, _, err = command(*HPO, "checkpoint=first", "dataset.configurations=15", "hydra.run.dir=fifth")
    assert code == 2
    assert "the checkpoint was trained on other data, or on another split of these" in err
    assert not Path("fifth").exists()


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (("dataset=sinusoid",), r"mode=optimize: needs dataset=configurations, not dataset=sinusoid"),
        (("likelihood=squared",), r"its predictions have no variance"),
        (("hpo.methods=[random,bo]",), r"hpo.methods: no method 'bo'"),
        (("dataset.split=rows",), r"mode=optimize: needs dataset.split=tasks"),
    ],
)
def test_what_cannot_be_optimized_is_refused_at_once(
    command: Command, data: str, typed: tuple[str, ...], message: str
) -> None:
    keys = [key for key in ENGINE if typed[0] != "dataset=sinusoid" or not key.startswith("dataset.train")]
    base = () if typed[0] == "dataset=sinusoid" else ("dataset=configurations", data)
    code, _, err = command(*HPO, *base, "algorithm=cnp", *keys, *typed, "hydra.run.dir=run")
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not Path("run").exists()
