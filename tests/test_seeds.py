"""What follows the run's seed, and what follows the seed of the episodes that runs are measured on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import CONV, CPU, MLP, Blobs, build, settings, waves
from PIL import Image
from torch import Tensor
from torch.utils._pytree import tree_leaves

from metarun.core.kinds import Regression
from metarun.datasets.base import Dataset
from metarun.datasets.user import UserTaskList, UserTasks
from metarun.engine.selection import SKETCH, Selector, sketch
from metarun.report.command import main as report

Command = Callable[..., tuple[int, str, str]]
MEASURED = ("val", "test", "train_eval")


def batches(dataset: Dataset, stream: str) -> list[Tensor]:
    tensors: list[Tensor] = tree_leaves(dataset.sample(stream, 0, 16))
    return tensors


def alike(one: Dataset, other: Dataset, stream: str) -> bool:
    return all(map(torch.equal, batches(one, stream), batches(other, stream)))


@dataclass(kw_only=True)
class Lines(UserTasks):
    kind = Regression()
    input_shape = (1,)

    def task(self, split: str, generator: np.random.Generator) -> Any:
        x = generator.uniform(size=6)
        y = generator.normal() * x
        return x[:3], y[:3], x[3:], y[3:]


@dataclass(kw_only=True)
class Listed(UserTaskList):
    kind = Regression()
    input_shape = (1,)

    def tasks(self, split: str) -> Any:
        return [([number], [number], [number], [number]) for number in range(50)]


def generated(*overrides: str) -> Callable[[int, int], Dataset]:
    def load(seed: int, episode_seed: int) -> Dataset:
        chosen = settings(*overrides, f"seed={seed}", f"engine.episode_seed={episode_seed}")
        return chosen.load_dataset(CPU)

    return load


FIXED_SPLITS: dict[str, Callable[[int, int], Dataset]] = {
    "glyphs": generated("dataset=glyphs"),
    "sinusoid": generated("dataset=sinusoid", "model=mlp"),
    "sinusoid, known": generated("dataset=sinusoid", "dataset.tasks=9", "model=mlp"),
    "harmonics": generated("dataset=harmonics", "model=mlp"),
    "polynomials": generated("dataset=polynomials", "model=mlp"),
    "regression_families": generated("dataset=regression_families", "model=mlp"),
    "own": lambda seed, episodes: Lines().load(seed, CPU, torch.float64, episodes),
}


@pytest.mark.parametrize("load", FIXED_SPLITS.values(), ids=FIXED_SPLITS)
def test_seeds_of_training_share_episodes(load: Callable[[int, int], Dataset]) -> None:
    first, other_run, other_episodes = load(0, 0), load(1, 0), load(0, 1)
    assert not alike(first, other_run, "train")
    assert alike(first, other_episodes, "train")
    # Known tasks that are drawn are the training's, and follow its seed; polynomials are the same for all.
    drawn = first.known_tasks and first.name == "sinusoid"
    for stream in MEASURED:
        assert alike(first, other_run, stream) == (not drawn or stream != "train_eval")
        assert not alike(first, other_episodes, stream)


def test_list_of_tasks_is_evaluated() -> None:
    first, other_run, other_episodes = (
        Listed().load(seed, CPU, torch.float64, episodes) for seed, episodes in ((0, 0), (1, 0), (0, 1))
    )
    assert not alike(first, other_run, "train")
    assert alike(first, other_episodes, "train")
    assert all(alike(first, other, stream) for other in (other_run, other_episodes) for stream in MEASURED)


@pytest.mark.parametrize("split", ["rows", "tasks"])
def test_a_tables_split_is_random_and_follows_the_run(tmp_path: Path, split: str) -> None:
    rows = [f"{task},{x},{x * task}" for task in range(12) for x in range(12)]
    (tmp_path / "a.csv").write_text("\n".join(["task,x,target", *rows]))
    shape = ("dataset.shots=2", "dataset.queries=1", f"dataset.split={split}", f"dataset.path='{tmp_path}/a.csv'")
    load = generated("dataset=table", *shape, "model=mlp")
    first, other_run, other_episodes = load(0, 0), load(1, 0), load(0, 1)
    assert first.protocol()["split_seed"] == 0
    assert other_run.protocol()["split_seed"] == 1
    assert alike(first, other_episodes, "train")
    for stream in MEASURED:
        assert not alike(first, other_run, stream)
        assert not alike(first, other_episodes, stream)


@pytest.mark.parametrize("ready", [True, False])
def test_folders_are_split_at_random_unless_already_split(tmp_path: Path, ready: bool) -> None:
    noise = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for number in range(4):
            folder = tmp_path / (split if ready else "") / f"{split}{number}"
            folder.mkdir(parents=True)
            for item in range(3):
                Image.fromarray(noise.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{item}.png")
    place = (f"dataset.root='{tmp_path}'", "dataset.size=8", "dataset.channels=1", "dataset.fractions=[0.4,0.3,0.3]")
    shape = ("dataset.ways=2", "dataset.shots=1", "dataset.queries=1", "dataset.train_queries=1")
    load = generated("dataset=image_folder", *place, *shape)
    first, other_run = load(0, 0), load(1, 0)
    assert first.protocol().get("split_seed") == (None if ready else 0)
    assert alike(first, other_run, "test") == ready


def test_the_order_of_minibatches_follows_the_run() -> None:
    dataset = waves()
    draws = []
    for seed in (0, 0, 1):
        learner, _ = build(dataset, *MLP, "algorithm=reptile", "algorithm.minibatch=2", f"seed={seed}")
        draws.append(learner.draws(dataset.sample("train", 0, 20), testing=False, progress=0.0)["minibatches"])
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("select", ["loss", "k_medoids"])
def test_the_noise_of_task_selection_follows_the_run(select: str) -> None:
    """At the same φ."""
    dataset = Blobs()
    few = (f"algorithm.outer.tasks.select={select}", "algorithm.outer.tasks.pool=3")
    wide = ("model.channels=16", "model.layers=2") if select == "k_medoids" else CONV[1:]
    chosen = []
    _, phi = build(dataset, "model=conv4", *wide, *few)
    for seed in (0, 0, 1):
        learner, _ = build(dataset, "model=conv4", *wide, *few, f"seed={seed}")
        selector = Selector(learner.algorithm.outer.tasks, learner, dataset, 4, None)  # type: ignore[attr-defined]
        picked = [selector(phi, step, 0.0, None) for step in range(6)]
        chosen.append((torch.cat([each.batch.number for each in picked]), picked[0].metrics))
    assert torch.equal(chosen[0][0], chosen[1][0])
    if select == "loss":
        assert not torch.equal(chosen[0][0], chosen[2][0])


def test_the_signs_of_sketches_follow_the_run() -> None:
    vector = torch.ones(3 * SKETCH)
    assert torch.equal(sketch(vector, 0), sketch(vector, 0))
    assert not torch.equal(sketch(vector, 0), sketch(vector, 1))


def test_user_dataset_without_episode_seed_is_refused(command: Command) -> None:
    Path("old").mkdir()
    Path("old/waves.py").write_text(
        "from dataclasses import dataclass\n\n\n@dataclass\nclass Waves:\n    shots: int\n\n"
        "    def load(self, seed, device, dtype):\n        raise AssertionError\n"
    )
    Path("conf/dataset").mkdir(parents=True)
    Path("conf/dataset/waves.yaml").write_text("_target_: old.waves.Waves\nshots: 5\n")
    code, _, err = command("--config-dir", "conf", "dataset=waves", "model=mlp", "debug=fast")
    assert (code, err.count("\n")) == (2, 1)
    assert "dataset=waves: its method 'load' takes no episode_seed; write load(self, seed, device, dtype, " in err


def test_unknown_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="no stream 'tset'"):
        settings("dataset=sinusoid", "model=mlp").load_dataset(CPU).sample("tset", 0, 1)


def test_seeds_are_compared_on_the_same_episodes(command: Command, capfd: pytest.CaptureFixture[str]) -> None:
    tiny = ("dataset=sinusoid", "model=mlp", "model.hidden=[8]", "algorithm.inner_lr=0.01", "tracking=scalars")
    fast = ("debug=fast", "engine.steps=4", "engine.test_episodes=30", "device.threads=1")
    for seed in (0, 1):
        assert command(*tiny, *fast, f"seed={seed}", f"hydra.run.dir=run{seed}")[0] == 0
        assert command("mode=test", f"checkpoint=run{seed}", f"hydra.run.dir=again{seed}")[0] == 0
    assert command(*tiny, *fast, "engine.episode_seed=3", "hydra.run.dir=elsewhere")[0] == 0
    capfd.readouterr()
    assert report(["--paired", "run0", "run1"]) == 0
    assert "on the same 30 meta-test episodes" in capfd.readouterr().out
    assert report(["--paired", "run0", "elsewhere"]) == 2
    assert "not the same episodes: engine.episode_seed is 0 and 3" in capfd.readouterr().err
    assert Path("run1/episodes.csv").read_text() == Path("again1/episodes.csv").read_text()
    assert command("mode=test", "checkpoint=run1", "seed=0")[0] == 2
    assert command("mode=test", "checkpoint=run1", "engine.episode_seed=3", "hydra.run.dir=other")[0] == 0
    assert Path("run1/episodes.csv").read_text() != Path("other/episodes.csv").read_text()
