"""Conditional neural processes against the same computed example by example."""

from typing import Any

import pytest
import torch
from builders import CONV, MLP, Blobs, build, moved, task_of, waves
from torch import Tensor
from torch.func import functional_call

from metarun.core.errors import UserError
from metarun.core.kinds import Classification
from metarun.core.tasks import AnyExamples, Task
from metarun.datasets.base import Dataset
from metarun.learner.learner import Learner, MetaParameters
from metarun.models.normalization import Context

PROBLEMS: dict[str, tuple[Dataset, tuple[str, ...]]] = {"classes": (Blobs(), CONV), "targets": (waves(), MLP)}


def made(problem: str, **changes: Any) -> tuple[Learner, MetaParameters, Task]:
    dataset, model = PROBLEMS[problem]
    learner, phi = build(dataset, *model, "algorithm=cnp", "model.normalization=none", **changes)
    return learner, moved(phi), task_of(dataset.sample("train", 0, 1), 0)


def predicted(learner: Learner, phi: MetaParameters, support: AnyExamples, x: Tensor) -> Tensor:
    state = learner.algorithm.initial_state(phi["algorithm"], phi["theta"])
    return learner.algorithm.predict(learner.model, phi["algorithm"], state, support, x)


def layered(params: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """A vector through linear layers with ReLU between them, by their parameters."""
    layers = sorted({int(key.split(".")[1]) for key in params if key.startswith(name)})
    for layer in layers:
        x = params[f"{name}.{layer}.weight"] @ x + params[f"{name}.{layer}.bias"]
        x = x.clamp(min=0) if layer != layers[-1] else x
    return x


@pytest.mark.parametrize("problem", PROBLEMS)
def test_predictions_are_those_of_a_loop_over_examples(problem: str) -> None:
    learner, phi, task = made(problem, encoder=[6, 5], decoder=[7, 7])
    params = phi["algorithm"]
    assert params["encoder.2.weight"].shape == (5, 6)
    assert params["decoder.2.weight"].shape == (7, 7)

    def features(x: Tensor) -> Tensor:
        return functional_call(learner.model.network, phi["theta"], (x[None], Context()))[0]

    prediction = predicted(learner, phi, task.support, task.query.x)
    for x, found in zip(task.query.x, prediction, strict=True):
        if problem == "targets":
            encoded = [
                layered(params, "encoder", torch.cat((features(x_i), y_i)))
                for x_i, y_i in zip(task.support.x, task.support.y, strict=True)
            ]
            wanted = layered(params, "decoder", torch.cat((features(x), sum(encoded) / len(encoded))))
        else:
            logits = []
            for way in range(3):
                encoded = [layered(params, "encoder", features(x_i)) for x_i in task.support.x[task.support.y == way]]
                logits.append(layered(params, "decoder", torch.cat((features(x), sum(encoded) / len(encoded)))))
            wanted = torch.cat(logits)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_a_class_without_support_examples_has_a_summary_of_zeros() -> None:
    learner, phi, task = made("classes")
    there = task.support.rows((task.support.y != 1).nonzero()[:, 0])
    one, other = (predicted(learner, phi, support, task.query.x) for support in (task.support, there))
    torch.testing.assert_close(one[:, [0, 2]], other[:, [0, 2]], rtol=0, atol=1e-12)
    assert other.isfinite().all()


def test_training_can_have_more_ways_than_testing() -> None:
    class MoreWays(Blobs):
        def kind(self, stream: str) -> Classification:
            return Classification(5 if stream == "train" else 3)

    learner, phi = build(MoreWays(), *CONV, "algorithm=cnp")
    objective, _ = learner.objective(phi, task_of(Blobs(ways=5).sample("train", 0, 1), 0), {})
    assert objective.isfinite()


def test_there_are_no_inner_steps() -> None:
    learner, _, _ = made("targets")
    assert learner.algorithm.steps(testing=False) == learner.algorithm.steps(testing=True) == 0


def test_an_encoder_without_layers_is_refused() -> None:
    with pytest.raises(UserError, match=r"algorithm.encoder=\[\]"):
        build(waves(), *MLP, "algorithm=cnp", "algorithm.encoder=[]")
