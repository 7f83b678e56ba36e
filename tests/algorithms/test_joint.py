"""The baselines that learn all tasks as one, against what can be known of them without training."""

import math
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from builders import CONV, HYPERNET, MLP, Blobs, algorithm, build, looped, moved, task_of, waves
from torch import Tensor, nn
from torch.func import functional_call

from metarun.algorithms.cosine_head import CosineHead
from metarun.algorithms.joint import Joint
from metarun.core.errors import UserError
from metarun.core.tasks import Task
from metarun.datasets.base import problem
from metarun.engine.evaluation import Evaluator
from metarun.engine.meta_gradient import MetaGradient
from metarun.learner.learner import Learner, MetaParameters
from metarun.models.base import Parameters
from metarun.models.normalization import Context
from metarun.training.outer_optimizer import OuterOptimizer

BATCH = "model.normalization=batch"


def test_joint_training_is_gradient_descent_on_all_examples() -> None:
    dataset = waves()
    learner, phi = build(dataset, *MLP, "algorithm=joint")
    batch = dataset.sample("train", 0, 4)
    leaves = {n: t.clone().requires_grad_() for n, t in phi["theta"].items()}
    x, y = (torch.cat((one, other), 1).flatten(0, 1) for one, other in zip(batch.support, batch.query, strict=True))
    loss = F.mse_loss(functional_call(learner.model.network, leaves, (x, Context())), y)
    wanted = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    found, _ = MetaGradient(learner, None, compiled=False)(phi, batch)
    torch.testing.assert_close(found["theta"], wanted, rtol=0, atol=1e-12)


def test_joint_training_comes_to_the_mean_of_all_sines_and_not_below() -> None:
    """Of the mean square E A²/2 of A sin(x − p), p in [0, π], the mean over tasks explains (E A · 2/π)²/2."""
    dataset = waves(10, 10)
    learner, phi = build(dataset, "model=mlp", "algorithm=joint")
    assert isinstance(learner.algorithm, Joint)
    optimizer = OuterOptimizer(learner.algorithm.outer, phi, clip=10.0)
    meta_gradient = MetaGradient(learner, None, compiled=False)
    for step in range(300):
        gradient, _ = meta_gradient(phi, dataset.sample("train", step, 16))
        optimizer.step(gradient, 0.005)
    nothing = (5**3 - 0.1**3) / (3 * 4.9) / 2
    best = nothing - (5.1 / 2 * 2 / math.pi) ** 2 / 2
    reached = Evaluator(learner)(phi, dataset, "test", 2000).mean("mse")
    assert 0.9 * best < reached < 1.1 * best < 0.85 * nothing


def test_labels_with_task_specific_meaning_are_refused() -> None:
    with pytest.raises(UserError, match=r"algorithm=joint: .* use algorithm=finetune"):
        algorithm("joint").check(problem(Blobs()))


def test_pretraining_classifies_all_classes_with_a_separate_head() -> None:
    dataset = Blobs(ways=3, shots=2, queries=2)
    learner, phi = build(dataset, *CONV, BATCH, "algorithm=finetune")
    phi = moved(phi)
    assert phi["algorithm"]["classes.weight"].shape == (40, phi["theta"]["head.weight"].shape[1])
    batch = dataset.sample("train", 0, 3)
    leaves = {n: t.clone().requires_grad_() for n, t in phi["theta"].items() if not n.startswith("head.")}
    head = {n.replace("classes.", "head."): t.clone().requires_grad_() for n, t in phi["algorithm"].items()}
    total = torch.zeros((), dtype=torch.float64)
    for number in range(3):
        task = task_of(batch, number)
        x, y = (torch.cat(parts) for parts in zip(task.support, task.query, strict=True))
        out = functional_call(learner.model.network, leaves | head, (x, Context(len(task.support.y))))
        total = total + F.cross_entropy(out, task.classes[y]) / 3
    everything = leaves | head
    wanted = dict(zip(everything, torch.autograd.grad(total, list(everything.values())), strict=True))
    found, _ = MetaGradient(learner, None, compiled=False)(phi, batch)
    for name in leaves:
        torch.testing.assert_close(found["theta"][name], wanted[name], rtol=1e-9, atol=1e-11)
    for name in ("weight", "bias"):
        torch.testing.assert_close(found["algorithm"][f"classes.{name}"], wanted[f"head.{name}"], rtol=1e-9, atol=1e-11)
        assert not found["theta"][f"head.{name}"].any(), "a test task's head is never trained"


def test_fine_tuning_takes_steps_at_test_only() -> None:
    chosen = algorithm("finetune", inner_steps=7)
    assert (chosen.steps(testing=False), chosen.steps(testing=True)) == (0, 7)


def features_of(learner: Learner, phi: MetaParameters, task: Task) -> tuple[Tensor, Tensor]:
    """Of support set and queries, by the body of the network alone, normalized by the support set."""
    network = deepcopy(learner.model.network)
    network.head = nn.Identity()
    body = {n: t for n, t in phi["theta"].items() if not n.startswith("head.")}
    rows = len(task.support.x)
    out = functional_call(network, body, (torch.cat((task.support.x, task.query.x)), Context(rows)))
    return out[:rows], out[rows:]


def tuned(learner: Learner, phi: MetaParameters, task: Task) -> tuple[Parameters, Tensor]:
    """θ' and predictions for the queries."""
    params, support = phi["algorithm"], task.support
    state = learner.algorithm.adapt(learner.model, params, phi["theta"], support, {}, testing=True)
    return state.theta, learner.algorithm.predict(learner.model, params, state, support, task.query.x)


@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_head_on_frozen_features_equals_torch(head: str) -> None:
    """The inner loop against PyTorch's SGD with momentum on features computed once."""
    dataset = Blobs(ways=3, shots=4)
    chosen = ("algorithm=finetune", "algorithm.tunes=head", f"algorithm.head={head}")
    learner, phi = build(
        dataset, *CONV, BATCH, *chosen, "algorithm.inner_optimizer.momentum=0.9", inner_lr=0.2, inner_steps=4
    )
    phi = moved(phi)
    task = task_of(dataset.sample("test", 0, 1), 0)
    known, asked = features_of(learner, phi, task)
    weight = nn.Parameter(phi["theta"]["head.weight"].clone())
    bias = nn.Parameter(phi["theta"]["head.bias"].clone()) if head == "linear" else None

    def logits(features: Tensor) -> Tensor:
        if head == "linear":
            return F.linear(features, weight, bias)
        return 2 * F.cosine_similarity(features[:, None], weight[None], dim=-1)

    optimizer = torch.optim.SGD([weight] if bias is None else [weight, bias], lr=0.2, momentum=0.9)
    for _ in range(4):
        optimizer.zero_grad()
        F.cross_entropy(logits(known), task.support.y).backward()
        optimizer.step()
    theta, found = tuned(learner, phi, task)
    torch.testing.assert_close(found, logits(asked).detach(), rtol=0, atol=1e-10)
    for name, tensor in phi["theta"].items():
        assert torch.equal(theta[name], tensor) != name.startswith("head.")


def test_cosine_head_is_used_in_pretraining() -> None:
    dataset = Blobs(ways=3, shots=2, queries=2)
    learner, phi = build(dataset, *CONV, BATCH, "algorithm=finetune", "algorithm.head=cosine")
    assert set(phi["algorithm"]) == {"classes.weight"}
    phi = moved(phi)
    task = task_of(dataset.sample("train", 0, 1), 0)
    weight = phi["algorithm"]["classes.weight"].clone().requires_grad_()
    features = torch.cat(features_of(learner, phi, task))
    labels = task.classes[torch.cat((task.support.y, task.query.y))]
    loss = F.cross_entropy(2 * F.cosine_similarity(features[:, None], weight[None], dim=-1), labels)
    gradient, _ = MetaGradient(learner, None, compiled=False)(phi, dataset.sample("train", 0, 1))
    (wanted,) = torch.autograd.grad(loss, weight)
    torch.testing.assert_close(gradient["algorithm"]["classes.weight"], wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("classes", "scale"), [(5, 2.0), (200, 2.0), (201, 10.0)])
def test_cosine_scale_as_in_the_authors_code(classes: int, scale: float) -> None:
    torch.manual_seed(0)
    head, x = CosineHead(nn.Linear(6, classes)).double(), torch.randn(4, 6).double()
    wanted = scale * F.cosine_similarity(x[:, None], head.weight[None].detach(), dim=-1)
    torch.testing.assert_close(head(x).detach(), wanted, rtol=0, atol=1e-12)
    assert head(torch.zeros(1, 6).double()).abs().max() == 0


def test_the_nearest_centroid_is_that_of_scikit_learn() -> None:
    neighbors = pytest.importorskip("sklearn.neighbors")
    dataset = Blobs(ways=4, shots=3, queries=5, noise=3.0)
    learner, phi = build(dataset, *CONV, BATCH, "algorithm=finetune", "algorithm.head=nearest_centroid")
    phi = moved(phi)
    assert learner.algorithm.steps(testing=True) == 0
    for number in range(3):
        task = task_of(dataset.sample("test", number, 1), 0)
        known, asked = features_of(learner, phi, task)
        theirs = neighbors.NearestCentroid().fit(known.numpy(), task.support.y.numpy())
        theta, found = tuned(learner, phi, task)
        assert found.argmax(-1).tolist() == theirs.predict(asked.numpy()).tolist()
        means = torch.from_numpy(theirs.centroids_)
        torch.testing.assert_close(found, -torch.cdist(asked, means).square(), rtol=0, atol=1e-9)
        assert all(torch.equal(theta[name], tensor) for name, tensor in phi["theta"].items())


def test_pretraining_is_the_same_whether_centroids_or_a_linear_head_follow() -> None:
    dataset = Blobs()
    (one, phi), (other, others) = (
        build(dataset, *CONV, "algorithm=finetune", f"algorithm.head={head}") for head in ("linear", "nearest_centroid")
    )
    batch = dataset.sample("train", 0, 2)
    found = MetaGradient(one, None, compiled=False)(phi, batch)
    torch.testing.assert_close(MetaGradient(other, None, compiled=False)(others, batch), found, rtol=0, atol=0)


@pytest.mark.parametrize("head", ["cosine", "nearest_centroid"])
def test_cosine_and_centroid_heads_require_classification(head: str) -> None:
    with pytest.raises(UserError, match=f"algorithm.head={head}: is for classification"):
        build(waves(), *MLP, "algorithm=finetune", f"algorithm.head={head}")


@pytest.mark.parametrize("normalization", ["batch", "global"])
@pytest.mark.parametrize("hypernet", [(), HYPERNET, ("hypernet=film", *HYPERNET[1:])], ids=["none", "full", "film"])
def test_a_cosine_head_goes_with_the_other_parts(normalization: str, hypernet: tuple[str, ...]) -> None:
    dataset = Blobs()
    chosen = ("algorithm=finetune", "algorithm.head=cosine", f"model.normalization={normalization}")
    learner, phi = build(dataset, *CONV, *chosen, *hypernet, inner_steps=2)
    phi, batch = moved(phi), dataset.sample("train", 0, 3)
    torch.testing.assert_close(
        MetaGradient(learner, 2, compiled=False)(phi, batch), looped(learner, phi, batch), rtol=1e-9, atol=1e-9
    )
    curves = Evaluator(learner, 2)(phi, dataset, "test", 3).curves
    assert all(values.isfinite().all() for values in curves.values())
