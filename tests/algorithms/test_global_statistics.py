"""``model.normalization=global`` against networks with PyTorch's own BatchNorm that are fed the same batches."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from builders import Blobs, build, looped, padded, task_of
from torch import Tensor, nn

from metarun.core.errors import UserError
from metarun.core.tasks import Task
from metarun.engine.evaluation import Evaluator
from metarun.engine.meta_gradient import MetaGradient
from metarun.learner.learner import Learner, MetaParameters, remember
from metarun.models.base import STATISTICS
from metarun.models.memory import MEMORY
from metarun.training.outer_optimizer import OuterOptimizer

CHANNELS = 4
CONV = ("model=conv4", f"model.channels={CHANNELS}", "model.layers=2", "model.normalization=global")
MLP = ("model=mlp", "model.hidden=[6,5]", "model.normalization=global")
METHODS = ("protonet", "matching", "r2d2", "metaopt", "cnp", "transformer", "finetune")


class Reference:
    """A network of PyTorch's layers with the same parameters: body, and head where there is one."""

    def __init__(self, learner: Learner, phi: MetaParameters, images: bool) -> None:
        theta, size = phi["theta"], 1 if images else 12 * 12
        parts: list[nn.Module] = [] if images else [nn.Flatten()]
        for block in range(2):
            shape = theta[f"layers.{block}.weight"].shape
            if images:
                parts += [nn.Conv2d(size, shape[0], 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(shape[0])]
            else:
                parts += [nn.Linear(size, shape[0]), nn.BatchNorm1d(shape[0])]
            parts.append(nn.ReLU())
            size = shape[0]
        self.body = nn.Sequential(*parts, nn.Flatten()).double()
        self.norms = [part for part in self.body if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
        self.follow(phi)

    def follow(self, phi: MetaParameters) -> None:
        """Take the parameters of φ, and none of its statistics."""
        weighted = [part for part in self.body if isinstance(part, nn.Conv2d | nn.Linear)]
        for kind, parts in (("layers", weighted), ("norms", self.norms)):
            for block, part in enumerate(parts):
                for name, parameter in part.named_parameters():
                    parameter.data.copy_(phi["theta"][f"{kind}.{block}.{name}"])

    def train_on(self, tasks: Task) -> None:
        """Every task through a copy of its own; the statistics become the mean of theirs."""
        copies = []
        for number in range(len(tasks.number)):
            copy = deepcopy(self.body).train()
            with torch.no_grad():
                copy(torch.cat((tasks.support.x[number], tasks.query.x[number])))
            copies.append([part for part in copy if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)])
        for block, norm in enumerate(self.norms):
            norm.running_mean = torch.stack([copy[block].running_mean for copy in copies]).mean(0)
            norm.running_var = torch.stack([copy[block].running_var for copy in copies]).mean(0)

    def features(self, x: Tensor) -> Tensor:
        """As at meta-test."""
        with torch.no_grad():
            return self.body.eval()(x)


def assert_same_statistics(reference: Reference, phi: MetaParameters) -> None:
    for block, norm in enumerate(reference.norms):
        wanted = torch.stack((norm.running_var, norm.running_mean))
        torch.testing.assert_close(phi[MEMORY][f"{STATISTICS}norm{block}"], wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.parametrize("model", [CONV, MLP], ids=["conv4", "mlp"])
def test_statistics_and_predictions_are_those_of_batchnorm(model: tuple[str, ...], tasks: int) -> None:
    """With one task a meta-update, this is PyTorch's own training loop; with more, their mean."""
    dataset = Blobs(ways=3, shots=2, queries=2)
    learner, phi = build(dataset, "algorithm=protonet", *model)
    reference, meta_gradient = Reference(learner, phi, model is CONV), MetaGradient(learner, 2, compiled=False)
    optimizer = OuterOptimizer(learner.algorithm.outer, phi, clip=None)
    assert_same_statistics(reference, phi)
    for step in range(4):
        batch = dataset.sample("train", step, tasks)
        reference.train_on(batch)
        gradient, _ = meta_gradient(phi, batch)
        optimizer.step(gradient, 0.01)
        remember(phi, gradient, frozen=torch.zeros(()))
        assert_same_statistics(reference, phi)
        reference.follow(phi)

    task = task_of(dataset.sample("test", 0, 1), 0)
    support, query = reference.features(task.support.x), reference.features(task.query.x)
    prototypes = torch.stack([support[task.support.y == label].mean(0) for label in range(3)])
    wanted = -torch.cdist(query, prototypes).square()
    ours = learner.for_task(phi).outputs(phi["theta"], {}, task.support, task.query.x)
    torch.testing.assert_close(ours, (support, query), rtol=0, atol=1e-12)
    state = learner.algorithm.initial_state(phi["algorithm"], phi["theta"])
    found = learner.algorithm.predict(learner.for_task(phi), {}, state, task.support, task.query.x)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_a_task_in_training_is_one_batch_of_support_and_queries() -> None:
    dataset = Blobs()
    learner, phi = build(dataset, "algorithm=protonet", *CONV)
    reference, task = Reference(learner, phi, images=True), task_of(dataset.sample("train", 0, 1), 0)
    out = learner.for_task(phi, learning=True).outputs(phi["theta"], {}, task.support, task.query.x)
    with torch.no_grad():
        wanted = reference.body.train()(torch.cat((task.support.x, task.query.x)))
    torch.testing.assert_close(torch.cat(out), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_chunks_and_a_loop_report_the_same(name: str) -> None:
    dataset = Blobs()
    learner, phi = build(dataset, f"algorithm={name}", *CONV)
    batch = dataset.sample("train", 0, 5)
    wanted = looped(learner, phi, batch)
    assert all((wanted[0][MEMORY][n] - start).abs().max() > 1e-3 for n, start in phi[MEMORY].items())
    for chunk in (None, 1, 2):
        found = MetaGradient(learner, chunk, compiled=False)(phi, batch)
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


def test_weights_of_tasks_count_for_statistics_too() -> None:
    dataset = Blobs()
    learner, phi = build(dataset, "algorithm=protonet", *CONV)
    first, second = (dataset.sample("train", index, 1) for index in (0, 1))
    both = dataset.sample("train", 0, 2)
    meta_gradient = MetaGradient(learner, 1, compiled=False)
    one, other = (meta_gradient(phi, batch)[0][MEMORY] for batch in (first, second))
    found = meta_gradient(phi, both, weights=torch.tensor([0.5, 1.5]))[0][MEMORY]
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, 0.25 * one[name] + 0.75 * other[name], rtol=0, atol=1e-12)


def test_padding_is_excluded_from_statistics() -> None:
    dataset = Blobs()
    learner, phi = build(dataset, "algorithm=protonet", *CONV)
    task = task_of(dataset.sample("train", 0, 1), 0)
    filled = task._replace(support=padded(task.support, 3), query=padded(task.query, 2))
    (objective, (_, reports)), (other, (_, others)) = (
        learner.objective_and_reports(phi, each, {}) for each in (task, filled)
    )
    torch.testing.assert_close((objective, reports), (other, others), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_no_query_sees_another_at_meta_test(name: str) -> None:
    dataset = Blobs()
    learner, phi = build(dataset, f"algorithm={name}", *CONV, inner_steps=2)
    gradient, _ = MetaGradient(learner, None, compiled=False)(phi, dataset.sample("train", 0, 4))
    remember(phi, gradient, frozen=torch.zeros(()))
    task = task_of(dataset.sample("test", 0, 1), 0)
    x = task.query.x.clone()
    x[1:] = 3 * x[1:].flip(0) + 1
    params, start = phi["algorithm"], learner.start(phi, task, testing=True)
    model = learner.for_task(phi)
    state = learner.algorithm.adapt(model, params, start, task.support, {}, testing=True)
    one, another, alone = (
        learner.algorithm.predict(model, params, state, task.support, queries)[0]
        for queries in (task.query.x, x, x[:1])
    )
    torch.testing.assert_close(another, one, rtol=0, atol=1e-12)
    torch.testing.assert_close(alone, one, rtol=0, atol=1e-12)


def test_evaluation_does_not_change_statistics() -> None:
    dataset = Blobs()
    learner, phi = build(dataset, "algorithm=protonet", *CONV)
    before = {name: tensor.clone() for name, tensor in phi[MEMORY].items()}
    curves = Evaluator(learner, 2)(phi, dataset, "test", 5).curves
    assert all(torch.equal(phi[MEMORY][name], tensor) for name, tensor in before.items())
    for tensor in phi[MEMORY].values():
        tensor[0] *= torch.linspace(0.1, 10, CHANNELS, dtype=torch.float64)
    changed = Evaluator(learner, 2)(phi, dataset, "test", 5).curves
    assert (changed["loss"] - curves["loss"]).abs().min() > 1e-3


def test_fine_tuning_holds_the_statistics() -> None:
    """At meta-test the inner loop goes through the network as it is in evaluation."""
    dataset = Blobs()
    learner, phi = build(dataset, "algorithm=finetune", "algorithm.tunes=all", *CONV, inner_steps=1, inner_lr=0.1)
    reference, task = Reference(learner, phi, images=True), task_of(dataset.sample("test", 0, 1), 0)
    head = nn.Linear(phi["theta"]["head.weight"].shape[1], 3).double()
    head.load_state_dict({name: phi["theta"][f"head.{name}"] for name in ("weight", "bias")})
    loss = nn.functional.cross_entropy(head(reference.body.eval()(task.support.x)), task.support.y)
    parameters = [*reference.body.parameters(), *head.parameters()]
    for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.data -= 0.1 * slope
    model = learner.for_task(phi)
    state = learner.algorithm.adapt(model, phi["algorithm"], phi["theta"], task.support, {}, testing=True)
    found = learner.algorithm.predict(model, phi["algorithm"], state, task.support, task.query.x)
    torch.testing.assert_close(found, head(reference.features(task.query.x)).detach(), rtol=0, atol=1e-12)


def test_statistics_keep_their_precision_where_the_network_computes_in_less() -> None:
    dataset = Blobs()
    learner, phi = build(dataset, "algorithm=protonet", *CONV)
    reduced = replace(learner, model=replace(learner.model, compute=torch.bfloat16))
    batch = dataset.sample("train", 0, 2)
    for name, tensor in phi[MEMORY].items():
        tensor[1] = 1 + 1e-5  # nothing that bfloat16 could hold
        found = MetaGradient(reduced, None, compiled=False)(phi, batch)[0][MEMORY][name]
        wanted = MetaGradient(learner, None, compiled=False)(phi, batch)[0][MEMORY][name]
        assert found.dtype == torch.float64
        assert ((found[1] - wanted[1]) / (wanted[1] - tensor[1])).abs().max() < 0.05


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("maml", "algorithm=maml has inner steps in meta-training"),
        ("reptile", "algorithm=reptile has inner steps in meta-training"),
        ("scratch", "algorithm=scratch has no meta-training"),
    ],
)
def test_methods_without_global_statistics_are_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=f"model.normalization=global: {message}"):
        build(Blobs(), f"algorithm={name}", *CONV)


def test_it_is_not_transductive() -> None:
    with pytest.raises(UserError, match="looks at other queries"):
        build(Blobs(), "algorithm=protonet", *CONV, "engine.transductive=true")
