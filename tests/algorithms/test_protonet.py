"""Prototypical networks against distances computed by NumPy."""

import numpy as np
import torch
from builders import CONV, Blobs, build, task_of
from torch.func import functional_call

from metarun.core.kinds import Classification
from metarun.core.tasks import Examples
from metarun.models.normalization import Context


def test_logits_are_negative_squared_distances_to_the_classes_means() -> None:
    learner, phi = build(Blobs(), *CONV, "algorithm=protonet", "model.normalization=none")
    task = task_of(Blobs().sample("train", 0, 1), 0)
    network = learner.model.network
    features = functional_call(network, phi["theta"], (task.support.x, Context())).detach().numpy()
    queries = functional_call(network, phi["theta"], (task.query.x, Context())).detach().numpy()
    logits = learner.algorithm.predict(
        learner.model, {}, learner.algorithm.initial_state({}, phi["theta"]), task.support, task.query.x
    )
    for q, query in enumerate(queries):
        for way in range(3):
            mean = np.mean([row for row, y in zip(features, task.support.y, strict=True) if y == way], axis=0)
            np.testing.assert_allclose(logits[q, way].detach(), -(np.linalg.norm(query - mean) ** 2), rtol=1e-10)


def test_the_order_of_the_support_set_does_not_matter() -> None:
    learner, phi = build(Blobs(), *CONV, "algorithm=protonet")
    task = task_of(Blobs().sample("train", 0, 1), 0)
    order = torch.randperm(len(task.support.y), generator=torch.Generator().manual_seed(0))
    shuffled = Examples(task.support.x[order], task.support.y[order])
    state = learner.algorithm.initial_state({}, phi["theta"])
    one, other = (
        learner.algorithm.predict(learner.model, {}, state, support, task.query.x)
        for support in (task.support, shuffled)
    )
    torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_more_ways_in_training_than_in_testing() -> None:
    class MoreWays(Blobs):
        def kind(self, stream: str) -> Classification:
            return Classification(5 if stream == "train" else 3)

    learner, phi = build(MoreWays(), *CONV, "algorithm=protonet")
    task = task_of(Blobs(ways=5).sample("train", 0, 1), 0)
    objective, metrics = learner.objective(phi, task, {})
    assert objective.isfinite()
    assert 0 <= metrics["accuracy"] <= 1
