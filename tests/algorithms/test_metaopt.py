"""MetaOptNet's two heads against scikit-learn's, through the features of a network."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from builders import CONV, MLP, Blobs, build, moved, task_of, waves
from contract import (
    PROBLEMS,
    check_a_repeated_support_set_adapts_alike,
    check_batched_equals_a_loop,
    check_padding_changes_nothing,
)
from torch import Tensor
from torch.func import functional_call

from metarun.core.errors import UserError
from metarun.engine.meta_gradient import MetaGradient
from metarun.learner.learner import Learner
from metarun.models.normalization import Context

RIDGE = "algorithm.head=ridge"


def compared(head: str, fit: Callable[[float, Any, Any], Any], **changes: Any) -> None:
    """Logits against the scale times the decision values of what ``fit`` makes of 1/(λn), features and classes."""
    learner, phi = build(
        Blobs(shots=4), "algorithm=metaopt", f"algorithm.head={head}", *CONV, "model.normalization=none", **changes
    )
    phi = moved(phi)
    task = task_of(Blobs(shots=4).sample("train", 0, 1), 0)
    params = phi["algorithm"]
    support, query = (features(learner, phi["theta"], x) for x in (task.support.x, task.query.x))
    fitted = fit(1 / (12 * learner.algorithm.weight(params, learner.model.kind)), support.numpy(), task.support.y)
    wanted = params["log_scale"].exp() * query @ torch.from_numpy(fitted.coef_.T.copy())
    state = learner.algorithm.initial_state(params, phi["theta"])
    logits = learner.algorithm.predict(learner.model, params, state, task.support, task.query.x)
    torch.testing.assert_close(logits.detach(), wanted, rtol=0, atol=1e-4)


def features(learner: Learner, theta: dict[str, Tensor], x: Tensor) -> Tensor:
    return functional_call(learner.model.network, theta, (x, Context())).detach()


def test_the_ridge_head_is_ridge_regression_without_intercept() -> None:
    from sklearn import linear_model

    def fit(cost: float, z: Any, y: Tensor) -> Any:
        return linear_model.Ridge(alpha=1 / cost, fit_intercept=False, solver="svd", tol=0).fit(
            z, torch.eye(3)[y].numpy()
        )

    compared("ridge", fit, penalty=0.2)


def test_the_svm_head_is_a_support_vector_machine_without_intercept() -> None:
    from sklearn import svm

    def fit(cost: float, z: Any, y: Tensor) -> Any:
        machine = svm.LinearSVC(
            multi_class="crammer_singer", C=cost, fit_intercept=False, tol=1e-9, max_iter=1_000_000, random_state=0
        )
        return machine.fit(z, y.numpy())

    compared("svm", fit, penalty=0.05, solver_steps=2000)


def test_a_support_vector_machine_fits_no_targets() -> None:
    with pytest.raises(UserError) as caught:
        build(waves(), "dataset=sinusoid", "algorithm=metaopt", "algorithm.head=svm", *MLP)
    said = str(caught.value)
    assert "algorithm.head=svm: a support vector machine separates classes" in said
    assert RIDGE in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "check",
    [check_batched_equals_a_loop, check_a_repeated_support_set_adapts_alike, check_padding_changes_nothing],
)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_ridge_head_keeps_the_contract_of_algorithms(check: Callable[..., None], problem: str) -> None:
    """`test_contract` takes the settings of the YAML file, where the head of classification is another."""
    check("metaopt", problem, RIDGE)


@pytest.mark.parametrize("head", ["svm", "ridge"])
def test_the_outer_loop_learns_the_scale_and_leaves_the_penalty(head: str) -> None:
    learner, phi = build(Blobs(), "algorithm=metaopt", f"algorithm.head={head}", *CONV)
    gradient, _ = MetaGradient(learner, None, compiled=False)(phi, Blobs().sample("train", 0, 4))
    assert gradient["algorithm"]["log_scale"].abs() > 1e-6
    assert phi["algorithm"].keys() == learner.learned(phi)["algorithm"].keys() == {"log_scale"}


@pytest.mark.parametrize("steps", [1, 3])
def test_solver_steps_is_the_number_of_iterations(steps: int) -> None:
    task = task_of(Blobs().sample("train", 0, 1), 0)
    logits = []
    for number in (steps, 500):
        learner, phi = build(Blobs(), "algorithm=metaopt", *CONV, solver_steps=number)
        state = learner.algorithm.initial_state(phi["algorithm"], phi["theta"])
        logits.append(
            learner.algorithm.predict(learner.model, phi["algorithm"], state, task.support, task.query.x).detach()
        )
    assert (logits[0] - logits[1]).abs().max() > 1e-3
