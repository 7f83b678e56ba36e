"""iMAML against the exact solve on linear regression, and its solver against NumPy."""

import pytest
import torch
from builders import CONV, MLP, Blobs, algorithm, build, linear, moved, regressions, task_of, waves

from metarun.algorithms.solver import conjugate_gradients
from metarun.engine.meta_gradient import MetaGradient

PROXIMAL = 1.5


def test_the_meta_gradient_is_the_exact_implicit_one() -> None:
    """With L_S(θ) = |Xθ − y|²/n and H = 2/n XᵀX: θ' = (H + λI)⁻¹ (2/n Xᵀy + λθ⁰), dL_Q/dθ⁰ = λ (H + λI)⁻¹ ∇L_Q(θ')."""
    made = algorithm("imaml", inner_lr=0.05, inner_steps=2000, proximal=PROXIMAL, solver_steps=8, damping=0.0)
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
    torch.testing.assert_close(gradient["theta"]["head.weight"], torch.stack(wanted).mean(0).T, rtol=1e-9, atol=1e-9)


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


@pytest.mark.parametrize("size", [1, 4, 7])
def test_conjugate_gradients_solve_in_as_many_steps_as_unknowns(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    factor = torch.randn(size, size, generator=generator, dtype=torch.float64)
    matrix = factor @ factor.T + torch.eye(size, dtype=torch.float64)
    wanted = torch.randn(size, generator=generator, dtype=torch.float64)

    def system(vector: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        joined = matrix @ torch.cat((vector["a"], vector["b"]))
        return {"a": joined[: size // 2], "b": joined[size // 2 :]}

    # Steps beyond the solution must not divide 0 by 0.
    for steps in (size, size + 5):
        found = conjugate_gradients(system, {"a": wanted[: size // 2], "b": wanted[size // 2 :]}, steps)
        exact = torch.linalg.solve(matrix, wanted)
        torch.testing.assert_close(torch.cat((found["a"], found["b"])), exact, rtol=1e-7, atol=1e-9)


def test_the_loss_that_is_differentiated_is_the_one_judged_by_running_statistics() -> None:
    """With one step of conjugate gradients along g = ∇L_Q(θ'), the meta-gradient is parallel to it."""
    dataset = Blobs()
    running = "model.normalisation=running"
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
