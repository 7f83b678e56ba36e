"""R2-D2 against ridge regression of its features by scikit-learn."""

from math import log

import numpy as np
import pytest
import torch
from builders import CONV, MLP, Blobs, build, moved, task_of, waves
from torch.func import functional_call

from metarun.datasets.base import Dataset
from metarun.engine.meta_gradient import MetaGradient
from metarun.models.normalization import Context


@pytest.mark.parametrize("kind", ["classes", "targets"])
@pytest.mark.parametrize("shots", [1, 40])
def test_predictions_are_ridge_regression_with_a_constant_feature(kind: str, shots: int) -> None:
    """Scaled and shifted; with fewer rows than features, and with more."""
    from sklearn import linear_model

    dataset: Dataset = Blobs(shots=shots) if kind == "classes" else waves(shots)
    model = (*CONV, "model.normalization=none") if kind == "classes" else MLP
    learner, phi = build(dataset, "algorithm=r2d2", *model, penalty=0.3)
    phi = moved(phi)
    task = task_of(dataset.sample("train", 0, 1), 0)
    network, params = learner.model.network, phi["algorithm"]

    def features(x: torch.Tensor) -> np.ndarray:
        z = functional_call(network, phi["theta"], (x, Context())).detach().numpy()
        return np.concatenate((z, np.ones((len(z), 1))), 1)

    targets = np.eye(3)[task.support.y.numpy()] if kind == "classes" else task.support.y.numpy()
    alpha = len(targets) * params["log_penalty"].exp().item()
    fitted = linear_model.Ridge(alpha=alpha, fit_intercept=False, solver="svd", tol=0)
    fitted.fit(features(task.support.x), targets)
    wanted = params["log_scale"].exp().item() * fitted.predict(features(task.query.x)).reshape(len(task.query.y), -1)
    if kind == "targets":
        assert params["bias"] != 0
        wanted = wanted + params["bias"].item()
    state = learner.algorithm.initial_state(params, phi["theta"])
    prediction = learner.algorithm.predict(learner.model, params, state, task.support, task.query.x)
    torch.testing.assert_close(prediction.detach(), torch.from_numpy(wanted), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["classes", "targets"])
def test_the_outer_loop_learns_penalty_and_scale(kind: str) -> None:
    dataset: Dataset = Blobs() if kind == "classes" else waves()
    learner, phi = build(dataset, "algorithm=r2d2", *(CONV if kind == "classes" else MLP), penalty=0.5)
    params = phi["algorithm"]
    assert params["log_penalty"].item() == pytest.approx(log(0.5))
    assert params.keys() == {"log_penalty", "log_scale"} | ({"bias"} if kind == "targets" else set())
    gradient, _ = MetaGradient(learner, None, compiled=False)(phi, dataset.sample("train", 0, 4))
    assert all(slope.abs() > 1e-6 for slope in gradient["algorithm"].values())
