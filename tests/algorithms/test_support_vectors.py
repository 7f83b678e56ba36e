"""The multi-class support vector machine against scikit-learn's, and against the conditions that define it."""

from math import exp

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from metarun.algorithms.on_features import SupportFeatures
from metarun.algorithms.support_vectors import crammer_singer, on_simplex

MANY = 3000


def problem(
    ways: int, shots: int, features: int, seed: int = 0, noise: float = 1.0, dtype: torch.dtype = torch.float64
) -> SupportFeatures:
    """Classes around random points, their rows in random order."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(ways).repeat(shots)[torch.randperm(ways * shots, generator=generator)]
    centers, noises = (torch.randn(n, features, generator=generator, dtype=dtype) for n in (ways, ways * shots))
    z = centers[y] + noise * noises
    return SupportFeatures(z, torch.eye(ways, dtype=dtype)[y], torch.ones(len(y), 1, dtype=dtype))


def weights(support: SupportFeatures, penalty: float, steps: int = MANY) -> Tensor:
    return support.features.T @ crammer_singer(support, penalty, steps)


def lacking(support: SupportFeatures, w: Tensor) -> Tensor:
    """ξ ``[s]``."""
    scores = support.features @ w
    return (scores + 1 - support.labels).amax(1) - (scores * support.labels).sum(1)


def primal(support: SupportFeatures, w: Tensor, penalty: float) -> Tensor:
    return lacking(support, w).mean() + penalty / 2 * w.square().sum()


@pytest.mark.parametrize(
    ("ways", "shots", "features", "penalty"),
    [
        *((5, 5, 40, penalty) for penalty in (0.001, 0.1, 1.0, 10.0)),
        *((5, 1, 20, penalty) for penalty in (0.001, 0.1, 1.0, 10.0)),
        *((4, 20, 6, penalty) for penalty in (0.4, 5.0)),
    ],
)
def test_several_classes_equal_scikit_learn(ways: int, shots: int, features: int, penalty: float) -> None:
    """LIBLINEAR minimizes ½ ‖W‖² + C Σ ξ, so that C = 1/(λn). Both stop a little short of the minimum: hence 1e-5."""
    from sklearn import svm

    support = problem(ways, shots, features)
    wanted = svm.LinearSVC(
        multi_class="crammer_singer",
        C=1 / (penalty * ways * shots),
        fit_intercept=False,
        tol=1e-9,
        max_iter=1_000_000,
        random_state=0,
    ).fit(support.features.numpy(), support.labels.argmax(1).numpy())
    coefficients = torch.from_numpy(wanted.coef_.T.copy())
    torch.testing.assert_close(weights(support, penalty), coefficients, rtol=0, atol=1e-5)


@pytest.mark.parametrize("penalty", [0.01, 0.4, 5.0])
def test_two_classes_as_a_binary_machine(penalty: float) -> None:
    """v = w₁ − w₀ = 2 w₁ minimizes mean hinge + λ/4 ‖v‖². Every row comes with its mirror image, so that the intercept,
    which LIBSVM always fits, is zero; the hinge loss then counts twice, and C = 1/(λn)."""
    from sklearn import svm

    support = problem(2, 10, 5)
    sign = support.labels @ torch.tensor([-1.0, 1.0], dtype=torch.float64)
    mirrored, signs = torch.cat((support.features, -support.features)), torch.cat((sign, -sign))
    wanted = svm.SVC(kernel="linear", C=1 / (penalty * len(sign)), tol=1e-10).fit(mirrored.numpy(), signs.numpy())
    assert abs(wanted.intercept_[0]) < 1e-6
    w = weights(support, penalty)
    torch.testing.assert_close(w[:, 0], -w[:, 1], rtol=0, atol=1e-12)
    torch.testing.assert_close(w[:, 1] - w[:, 0], torch.from_numpy(wanted.coef_[0].copy()), rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(
    ways=st.integers(2, 6),
    shots=st.integers(1, 4),
    more=st.integers(0, 30),
    seed=st.integers(0, 1000),
    penalty=st.floats(-5, 3).map(exp),
    noise=st.sampled_from([0.1, 1.0, 4.0]),
)
def test_the_optimality_conditions_hold(
    ways: int, shots: int, more: int, seed: int, penalty: float, noise: float
) -> None:
    """Karush-Kuhn-Tucker: α is feasible, and below its bound only for the classes that come nearest."""
    rows = ways * shots
    support = problem(ways, shots, rows + more, seed, noise)
    alpha = crammer_singer(support, penalty, 1000)
    bounds = support.labels / (penalty * rows)
    torch.testing.assert_close(alpha.sum(1), torch.zeros(rows, dtype=torch.float64), rtol=0, atol=1e-9)
    assert (alpha <= bounds + 1e-9).all()
    w = support.features.T @ alpha
    scores = support.features @ w + 1 - support.labels
    behind = scores.amax(1, keepdim=True) - scores
    slack = (bounds - alpha) * penalty * rows
    assert (slack * behind).max() < 1e-4
    assert gap(support, alpha, penalty) < 1e-5


@pytest.mark.parametrize("features", [1, 2, 4, 8])
@pytest.mark.parametrize("penalty", [0.1, 1.0])
def test_fewer_features_than_rows_take_more_steps(features: int, penalty: float) -> None:
    """A tenth of a margin is no matter for a classifier that cannot tell the classes apart anyway."""
    support = problem(4, 5, features)
    gaps = [gap(support, crammer_singer(support, penalty, steps), penalty) for steps in (30, 3000)]
    assert gaps[0] < 0.1
    assert gaps[1] < 1e-3


def gap(support: SupportFeatures, alpha: Tensor, penalty: float) -> float:
    """Between the primal and the dual objective, in units of ξ: never negative, and 0 at the minimum alone."""
    w = support.features.T @ alpha
    dual = penalty * ((alpha * support.labels).sum() - w.square().sum() / 2)
    value = (primal(support, w, penalty) - dual).item()
    assert value > -1e-9
    return value


def test_no_other_weights_are_better() -> None:
    support = problem(4, 5, 8)
    w = weights(support, 0.3)
    generator = torch.Generator().manual_seed(1)
    for size in (1e-3, 1e-2, 0.1):
        for _ in range(20):
            other = w + size * torch.randn(w.shape, generator=generator, dtype=w.dtype)
            assert primal(support, other, 0.3) > primal(support, w, 0.3)


@pytest.mark.parametrize(("ways", "shots", "penalty"), [(3, 2, 0.05), (3, 2, 3.0), (4, 1, 0.3)])
@pytest.mark.parametrize("steps", [3, 100])
def test_gradients_are_those_of_finite_differences(ways: int, shots: int, penalty: float, steps: int) -> None:
    """Of the solution where it is reached, and before that of where the steps lead."""
    support = problem(ways, shots, 8)

    def solved(z: Tensor) -> Tensor:
        return weights(support._replace(features=z), penalty, steps)

    assert torch.autograd.gradcheck(solved, support.features.clone().requires_grad_())


def test_second_derivatives_are_those_of_finite_differences() -> None:
    support = problem(3, 1, 2)
    z = support.features.clone().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda z: weights(support._replace(features=z), 0.3, 10), z)


@pytest.mark.parametrize(("ways", "shots"), [(5, 1), (5, 5), (20, 1), (20, 5)])
@pytest.mark.parametrize("features", [64, 256])
@pytest.mark.parametrize("penalty", [0.04, 0.4, 4.0])
def test_fifty_steps_are_nearly_all_in_single_precision(ways: int, shots: int, features: int, penalty: float) -> None:
    """On features as rectified units make them; to a hundredth of how far the scores are from one another."""
    exact = problem(ways, shots, features)
    exact = exact._replace(features=exact.features.relu())
    single = SupportFeatures(*(part.float() for part in exact))
    wanted = exact.features @ weights(exact, penalty)
    scores = single.features @ weights(single, penalty, 50)
    assert (scores - wanted).abs().max() < 0.02 * wanted.std()


def test_duplicated_rows_do_not_change_the_solution() -> None:
    support = problem(3, 2, 4)
    twice = SupportFeatures(*(torch.cat((part, part)) for part in support))
    for steps in (1, 5, 30):
        torch.testing.assert_close(weights(support, 0.4, steps), weights(twice, 0.4, steps), rtol=0, atol=1e-12)


def test_padding_does_not_change_the_solution() -> None:
    support = problem(3, 2, 4)
    longer = SupportFeatures(*(torch.cat((part, part.new_zeros(4, part.shape[1]))) for part in support))
    for steps in (1, 5, 30):
        alpha = crammer_singer(longer, 0.4, steps)
        torch.testing.assert_close(alpha[:6], crammer_singer(support, 0.4, steps), rtol=0, atol=1e-12)
        assert (alpha[6:] == 0).all()


@pytest.mark.parametrize("features", [torch.zeros(4, 3), torch.ones(4, 3), 1e-15 * torch.ones(4, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_features_have_finite_scores_and_gradients(features: Tensor, dtype: torch.dtype) -> None:
    targets = torch.eye(3, dtype=dtype)[torch.tensor([0, 1, 2, 0])]
    z = features.to(dtype).requires_grad_()
    support = SupportFeatures(z, targets, torch.ones(4, 1, dtype=dtype))
    scores = z @ weights(support, 0.4, 30)
    (slope,) = torch.autograd.grad(scores.square().sum() + scores[:, 0].sum(), z)
    assert scores.isfinite().all()
    assert slope.isfinite().all()


def test_one_example_is_enough() -> None:
    """w_y = −w_other, of length 1/‖z‖ where the margin is reached: 2 z w_y = 1."""
    z = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    support = SupportFeatures(z, torch.eye(2, dtype=torch.float64)[:1], torch.ones(1, 1, dtype=torch.float64))
    scores = z @ weights(support, 0.1, 200)
    torch.testing.assert_close(scores, torch.tensor([[0.5, -0.5]], dtype=torch.float64), rtol=0, atol=1e-9)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=8))
def test_the_nearest_probabilities(values: list[float]) -> None:
    """q is nearest to v of a convex set where v − q turns away from all of it: from its corners."""
    v = torch.tensor([values], dtype=torch.float64)
    q = on_simplex(v)
    assert (q >= 0).all()
    assert q.sum().item() == pytest.approx(1, abs=1e-12)
    assert ((torch.eye(len(values), dtype=torch.float64) - q) @ (v - q)[0] <= 1e-9).all()
