"""A meta-learner as a surrogate predicts what it predicts for a task of the same examples."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import tuning
from builders import CPU, build, moved, settings
from torch.utils._pytree import tree_map

from metarun.core.errors import UserError
from metarun.core.tasks import Examples
from metarun.datasets.configurations import Configurations
from metarun.hpo.history import Observed
from metarun.training.learned_surrogate import LearnedSurrogate

SHAPE = ("dataset.shots=3", "dataset.train_shots=6", "dataset.train_queries=4")


def loaded(folder: Path, *more: str) -> Configurations:
    tuning.written(folder)
    chosen = settings("dataset=configurations", f"dataset.path={folder}", "model=mlp", *SHAPE, *more)
    found = replace(chosen, device=replace(chosen.device, precision="float64")).load_dataset(CPU)
    assert isinstance(found, Configurations)
    return found


def observed(data: Configurations, task: int, tried: Sequence[int]) -> Observed:
    places = np.array(tried)
    return Observed(np.ones(18, np.bool_), data.scores.features[task], places, data.losses[task][places])


@pytest.mark.parametrize("metric", ["error", "accuracy"])
@pytest.mark.parametrize(
    "parts",
    [
        ("algorithm=cnp",),
        ("algorithm=maml", "algorithm.inner_steps=2", "algorithm.inner_lr=0.01"),
        ("algorithm=cnp", "hypernet=film", "embedding=descriptor"),
    ],
)
def test_predictions_are_the_learners(tmp_path: Path, metric: str, parts: tuple[str, ...]) -> None:
    data = loaded(tmp_path, f"dataset.metric={metric}")
    learner, phi = build(data, "model=mlp", "model.hidden=[8]", "likelihood=gaussian", *parts)
    phi = moved(phi)
    surrogate, test = LearnedSurrogate(learner, phi, data, "here"), data.sample("test", 0, 1)
    # The same support set, as the dataset gives it, and all configurations as queries.
    task = tree_map(lambda tensor: tensor[0], test)
    number = int(task.source)
    tried = [int(np.abs(data.encoding - x.numpy()).max(1).argmin()) for x in task.support.x]
    task = task._replace(query=Examples(torch.from_numpy(data.encoding), torch.zeros(18, 1, dtype=torch.float64)))
    draws = {name: each[0] for name, each in learner.draws(test, testing=True, progress=1.0).items()}
    model, own = learner.for_task(phi), phi["algorithm"]
    start = learner.start(phi, task, testing=True)
    state = learner.algorithm.adapt(model, own, start, task.support, draws, testing=True)
    mean, log_variance = model.kind.moments(learner.algorithm.predict(model, own, state, task.support, task.query.x))
    found = surrogate.predict(observed(data, number, tried), np.random.default_rng(0))
    sign = 1 if metric == "error" else -1
    assert found.mean == pytest.approx(sign * mean[:, 0].numpy())
    assert found.std == pytest.approx((log_variance[:, 0] / 2).exp().numpy())
    best = data.losses[number][tried].min()
    assert found.best * data.target_std + sign * data.target_mean == pytest.approx(best)


def test_the_descriptor_is_the_datasets(tmp_path: Path) -> None:
    data = loaded(tmp_path)
    batch = data.sample("val", 0, 2)
    for task in range(2):
        described = data.described(data.scores.features[int(batch.source[task])])
        assert described.numpy() == pytest.approx(batch.descriptor[task].numpy())


def test_a_prediction_without_variance_is_refused(tmp_path: Path) -> None:
    data = loaded(tmp_path)
    learner, phi = build(data, "model=mlp", "model.hidden=[8]", "likelihood=squared", "algorithm=maml")
    with pytest.raises(UserError, match=r"^here: its predictions have no variance.*likelihood=gaussian"):
        LearnedSurrogate(learner, phi, data, "here")
