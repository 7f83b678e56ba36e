"""iMAML against the exact solve on linear regression and the unrolled gradient, and its solvers against NumPy."""

from typing import Any

import numpy as np
import pytest
import torch
from builders import CONV, MLP, Blobs, algorithm, build, linear, moved, padded, regressions, task_of, waves
from torch import Tensor
from torch.func import hessian as dense_hessian
from torch.func import jacrev, vmap

from metarun.algorithms.curvature import gauss_newton, hessian
from metarun.algorithms.solver import conjugate_gradients, neumann_series
from metarun.datasets.base import Dataset
from metarun.engine.meta_gradient import MetaGradient
from metarun.models.base import Parameters

PROXIMAL = 1.5
CURVATURES = ("gauss_newton", "hessian")


@pytest.mark.parametrize("curvature", CURVATURES)
@pytest.mark.parametrize(("solver", "steps"), [("cg", 8), ("neumann", 2000)])
def test_the_meta_gradient_is_the_exact_implicit_one(curvature: str, solver: str, steps: int) -> None:
    """With L_S(θ) = |Xθ − y|²/n and H = 2/n XᵀX: θ' = (H + λI)⁻¹ (2/n Xᵀy + λθ⁰), dL_Q/dθ⁰ = λ (H + λI)⁻¹ ∇L_Q(θ').

    The outputs are linear in θ, so that the Gauss–Newton matrix is the Hessian.
    """
    keys = {"curvature": curvature, "solver": solver, "solver_steps": steps, "damping": 0.0}
    made = algorithm("imaml", inner_lr=0.05, inner_steps=2000, proximal=PROXIMAL, **keys)
    learner, phi = linear(made)
    batch = regressions()
    gradient, _ = MetaGradient(learner, 2, compiled=False)(phi, batch)
    start, wanted = phi["theta"]["head.weight"].T, []
    for number in range(len(batch.number)):
        (x, y), (xq, yq), *_ = task_of(batch, number)
        held = 2 / len(x) * x.T @ x + PROXIMAL * torch.eye(x.shape[1], dtype=x.dtype)
        end = torch.linalg.solve(held, 2 / len(x) * x.T @ y + PROXIMAL * start)
        slope = 2 / len(xq) * xq.T @ (xq @ end - yq)
        wanted.append(PROXIMAL * torch.linalg.solve(held, slope))
    torch.testing.assert_close(gradient["theta"]["head.weight"], torch.stack(wanted).mean(0).T, rtol=0, atol=1e-10)


@pytest.mark.parametrize("curvature", CURVATURES)
def test_the_neumann_series_is_the_unrolled_gradient_where_the_hessian_is_constant(curvature: str) -> None:
    """With as many terms as inner steps, of an inner loop that is far from converged."""
    keys = {"inner_lr": 0.05, "inner_steps": 7, "proximal": PROXIMAL}
    implicit = algorithm("imaml", curvature=curvature, solver="neumann", solver_steps=7, damping=0.0, **keys)
    gradients = []
    for made in (implicit, algorithm("maml", order=2, **keys)):
        learner, phi = linear(made)
        gradients.append(MetaGradient(learner, 2, compiled=False)(phi, regressions())[0]["theta"])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-12)


def test_implicit_gradient_is_close_to_the_unrolled_one() -> None:
    """Of sine waves, at an end of the inner loop where the Hessian is indefinite."""
    dataset, keys = waves(shots=10, queries=10), {"inner_lr": 0.02, "inner_steps": 300, "proximal": 1.0}
    batch, flat = dataset.sample("train", 0, 4), {}
    for name in ("imaml", "maml", "fomaml"):
        recompute = {"recompute": True} if name == "maml" else {}
        learner, phi = build(dataset, *MLP, f"algorithm={name}", **keys, **recompute)
        gradient, _ = MetaGradient(learner, None, compiled=False)(moved(phi), batch)
        flat[name] = torch.cat([tensor.flatten() for tensor in gradient["theta"].values()])
    near, far = (torch.nn.functional.cosine_similarity(flat["maml"], flat[n], dim=0) for n in ("imaml", "fomaml"))
    assert near > 0.65
    assert near > far + 0.3


def small(problem: str) -> tuple[Any, Parameters, Dataset]:
    dataset = Blobs() if problem == "classification" else waves()
    network = ("model=mlp", "model.hidden=[5,5]", "model.normalization=batch") if problem == "classification" else MLP
    learner, phi = build(dataset, *network, "algorithm=imaml")
    return learner.model, moved(phi, 0.2)["theta"], dataset


@pytest.mark.parametrize("problem", ["classification", "regression"])
@pytest.mark.parametrize("filled", [False, True], ids=["whole", "padded"])
def test_products_with_curvature_against_explicit_matrices(problem: str, filled: bool) -> None:
    """Of tasks batched by vmap; the normalization by the batch is part of the function."""
    model, theta, dataset = small(problem)
    batch, names = dataset.sample("train", 0, 3), list(theta)
    generator = torch.Generator().manual_seed(0)
    vector = {n: torch.randn(t.shape, generator=generator, dtype=t.dtype) for n, t in theta.items()}

    def joined(tensors: Parameters, leading: int = 0) -> Tensor:
        return torch.cat([tensors[n].flatten(leading) for n in names], leading)

    supports = [task_of(batch, number).support for number in range(3)]
    if filled:
        supports = [padded(each, 2) for each in supports]  # type: ignore[misc]
    stacked = type(supports[0])(*(torch.stack(parts) for parts in zip(*supports, strict=True)))
    newton, whole = (vmap(lambda s, of=of: of(model, theta, s)(vector))(stacked) for of in (gauss_newton, hessian))
    for number, support in enumerate(supports):
        out = model.support_outputs(theta, support)
        jacobian = joined(jacrev(lambda at, s=support: model.support_outputs(at, s))(theta), out.dim()).flatten(0, 1)
        bend = dense_hessian(lambda u, s=support: model.kind.loss(u, s.y, s.mask))(out)
        matrix = jacobian.T @ bend.reshape(out.numel(), out.numel()) @ jacobian
        assert torch.linalg.eigvalsh(matrix).min() > -1e-12
        torch.testing.assert_close(
            joined({n: t[number] for n, t in newton.items()}), matrix @ joined(vector), rtol=0, atol=1e-10
        )
        sizes = [theta[n].numel() for n in names]

        def loss(flat: Tensor, s: Any = support, sizes: list[int] = sizes) -> Tensor:
            parts = zip(names, flat.split(sizes), strict=True)
            return model.support_loss({n: p.view(theta[n].shape) for n, p in parts}, {}, {}, s)[0]

        exact = dense_hessian(loss)(joined(theta))
        assert torch.linalg.eigvalsh(exact).min() < -1e-3, "or the Gauss–Newton matrix would not be needed"
        torch.testing.assert_close(
            joined({n: t[number] for n, t in whole.items()}), exact @ joined(vector), rtol=0, atol=1e-10
        )


def test_the_damping_is_added_to_the_proximal_weight() -> None:
    batch = regressions()
    gradients = []
    for damping in (0.0, 2.0):
        made = algorithm("imaml", inner_lr=0.05, inner_steps=3, proximal=PROXIMAL, solver_steps=8, damping=damping)
        learner, phi = linear(made)
        task = task_of(batch, 0)
        end = learner.algorithm.adapt(learner.model, {}, phi["theta"], task.support, {}).theta["head.weight"].T
        (x, _), (xq, yq), *_ = task
        system = torch.eye(4, dtype=x.dtype) + 2 / len(x) * x.T @ x / (PROXIMAL + damping)
        wanted = torch.linalg.solve(system, 2 / len(xq) * xq.T @ (xq @ end - yq))
        leaf = {"head.weight": phi["theta"]["head.weight"].clone().requires_grad_()}
        objective = learner.algorithm.objective(learner.model, {}, leaf, task, {}).objective
        (slope,) = torch.autograd.grad(objective, list(leaf.values()))
        torch.testing.assert_close(slope.T, wanted, rtol=1e-9, atol=1e-9)
        gradients.append(slope)
    assert not torch.allclose(*gradients)


def test_the_inner_loop_is_pulled_back_to_its_start() -> None:
    far, near = (algorithm("imaml", inner_lr=0.02, inner_steps=50, proximal=proximal) for proximal in (1e-6, 20.0))
    moves = []
    for made in (far, near):
        learner, phi = build(waves(), *MLP)
        task, phi = task_of(waves().sample("train", 0, 1), 0), moved(phi)
        end = made.adapt(learner.model, {}, phi["theta"], task.support, {}).theta
        moves.append(sum((end[name] - phi["theta"][name]).square().sum() for name in end))
    assert moves[1] < 0.1 * moves[0]


@pytest.mark.parametrize("inner_lr", [0.05, 5.0])
def test_step_that_increases_the_inner_loss_is_shortened(inner_lr: float) -> None:
    """On a quadratic the parabola is exact: the step is min(α, gᵀg / gᵀ(H + λI)g) long where α would go up."""
    made = algorithm("imaml", inner_lr=inner_lr, inner_steps=1, proximal=PROXIMAL)
    learner, phi = linear(made)
    (x, y), *_ = task_of(regressions(), 0)
    at = phi["theta"]["head.weight"].T
    slope = 2 / len(x) * x.T @ (x @ at - y)
    bend = 2 / len(x) * x.T @ x @ slope + PROXIMAL * slope
    lowest = ((slope * slope).sum() / (slope * bend).sum()).item()
    assert (inner_lr > 2 * lowest) == (inner_lr == 5.0), "or this would not try both"
    end = learner.algorithm.adapt(learner.model, {}, phi["theta"], task_of(regressions(), 0).support, {})
    wanted = at - (lowest if inner_lr == 5.0 else inner_lr) * slope
    torch.testing.assert_close(end.theta["head.weight"].T, wanted, rtol=0, atol=1e-12)


def times(matrix: Tensor) -> Any:
    """The product with a matrix, of vectors in two parts."""
    cut = len(matrix) // 2

    def system(vector: Parameters) -> Parameters:
        joined = matrix @ torch.cat((vector["a"], vector["b"]))
        return {"a": joined[:cut], "b": joined[cut:]}

    return system


def parts(vector: Tensor) -> Parameters:
    return {"a": vector[: len(vector) // 2], "b": vector[len(vector) // 2 :]}


def whole(solution: Parameters) -> Tensor:
    return torch.cat((solution["a"], solution["b"]))


@pytest.mark.parametrize("size", [1, 4, 7])
def test_conjugate_gradients_converge_in_n_steps(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    factor = torch.randn(size, size, generator=generator, dtype=torch.float64)
    matrix = factor @ factor.T + torch.eye(size, dtype=torch.float64)
    wanted = torch.randn(size, generator=generator, dtype=torch.float64)
    # Steps beyond the solution must not divide 0 by 0.
    for steps in (size, size + 5):
        found = conjugate_gradients(times(matrix), parts(wanted), steps)
        torch.testing.assert_close(whole(found), torch.linalg.solve(matrix, wanted), rtol=1e-7, atol=1e-9)


def truncated(matrix: np.ndarray, wanted: np.ndarray, steps: int) -> tuple[np.ndarray, int | None]:
    """Conjugate gradients with a loop that breaks at negative curvature, and in which step that was."""
    solution, residual, direction = np.zeros_like(wanted), wanted, wanted
    for step in range(steps):
        bend = direction @ matrix @ direction
        if bend <= 0:
            return (solution if step else wanted), step
        length = residual @ residual / bend
        solution = solution + length * direction
        new = residual - length * matrix @ direction
        direction = new + (new @ new) / (residual @ residual) * direction
        residual = new
    return solution, None


def test_conjugate_gradients_stop_at_negative_curvature() -> None:
    """Many systems at once, batched; some stop at once, some later, some never."""
    generator = torch.Generator().manual_seed(0)
    factors = torch.linalg.qr(torch.randn(200, 6, 6, generator=generator, dtype=torch.float64)).Q
    eigenvalues = torch.linspace(-0.5, 4, 6, dtype=torch.float64) + torch.linspace(-3, 1, 200).double()[:, None]
    matrices = factors @ torch.diag_embed(eigenvalues) @ factors.mT
    wanted = torch.randn(200, 6, generator=generator, dtype=torch.float64)
    found = vmap(lambda matrix, b: whole(conjugate_gradients(times(matrix), parts(b), 5)))(matrices, wanted)
    stops = set()
    for matrix, b, x in zip(matrices, wanted, found, strict=True):
        expected, stop = truncated(matrix.numpy(), b.numpy(), 5)
        torch.testing.assert_close(x, torch.from_numpy(expected), rtol=1e-7, atol=1e-9)
        assert x @ b > 0, "a direction of descent"
        stops.add(stop)
    assert {0, 1, 2, None} <= stops, "or this would not try them"


def test_a_wanted_of_zero_is_solved_by_zero() -> None:
    zero = parts(torch.zeros(4, dtype=torch.float64))
    assert whole(conjugate_gradients(times(-torch.eye(4, dtype=torch.float64)), zero, 3)).tolist() == [0.0] * 4


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_the_neumann_series_term_by_term(rate: float) -> None:
    generator = torch.Generator().manual_seed(3)
    factor = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    matrix, wanted = factor + factor.T, torch.randn(5, generator=generator, dtype=torch.float64)
    turn = torch.eye(5, dtype=torch.float64) - rate * matrix
    powers = [torch.linalg.matrix_power(turn, k) for k in range(5)]
    expected = powers[4] @ wanted + rate * sum(power @ wanted for power in powers[:4])
    torch.testing.assert_close(
        whole(neumann_series(times(matrix), parts(wanted), 4, rate)), expected, rtol=0, atol=1e-10
    )


def test_differentiated_loss_uses_running_statistics() -> None:
    """With one step of conjugate gradients along g = ∇L_Q(θ'), the meta-gradient is parallel to it."""
    dataset = Blobs()
    running = "model.normalization=running"
    learner, phi = build(dataset, *CONV, running, "algorithm=imaml", inner_steps=3, solver_steps=1)
    phi, task = moved(phi), task_of(dataset.sample("train", 0, 1), 0)
    chosen, model = learner.algorithm, learner.model
    state = chosen.adapt(model, {}, phi["theta"], task.support, {})
    assert state.running, "or this could not fail"
    leaf = {name: tensor.clone().requires_grad_() for name, tensor in state.theta.items()}
    prediction = chosen.predict(model, {}, state._replace(theta=leaf), task.support, task.query.x)
    slope = torch.cat(
        [
            part.flatten()
            for part in torch.autograd.grad(
                model.kind.loss(prediction, task.query.y),
                list(leaf.values()),
                materialize_grads=True,
                allow_unused=True,
            )
        ]
    )
    gradient, _ = MetaGradient(learner, None, compiled=False)(phi, dataset.sample("train", 0, 1))
    found = torch.cat([gradient["theta"][name].flatten() for name in leaf])
    assert torch.nn.functional.cosine_similarity(found, slope, dim=0) > 1 - 1e-9
