"""Small learners and tasks for tests, made through the door that a run's parts come through: composed and checked."""

from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from metarun.algorithms.base import Algorithm
from metarun.config.compose import compose, plain
from metarun.core.counters import choose, key, keys, uniform
from metarun.core.errors import UserError
from metarun.core.inputs import InputSpec, one_of
from metarun.core.kinds import Classification, Regression
from metarun.core.tasks import Examples, PaddedExamples, Task, TaskBatch, batch
from metarun.datasets.base import Dataset, Problem, Seeds, problem, split_of
from metarun.datasets.sinusoid import Sinusoid
from metarun.embeddings.none import Nothing
from metarun.hypernets.none import NoHypernet
from metarun.learner.learner import Learner, MetaParameters
from metarun.models.base import TaskModel
from metarun.models.memory import MEMORY
from metarun.models.normalization import Context
from metarun.setup import assemble
from metarun.setup.check import check
from metarun.setup.settings import Settings

CPU = torch.device("cpu")
ALGORITHMS = sorted(path.stem for path in (Path(__file__).parents[2] / "conf" / "algorithm").glob("*.yaml"))
CONV = ("model=conv4", "model.channels=4", "model.layers=2")
MLP = ("model=mlp", "model.hidden=[8,8]")
HYPERNET = ("hypernet=full", "hypernet.hidden=[8]", "embedding=support", "embedding.size=4", "embedding.hidden=8")


@cache
def settings(*overrides: str) -> Settings:
    """The settings of the command line ``metarun *overrides``."""
    config = compose(overrides)
    return check(plain(config, config.hydra.runtime.choices))


def algorithm(name: str, **changes: Any) -> Algorithm:
    """The algorithm with its default settings, but for ``changes``."""
    made: Algorithm = replace(settings(f"algorithm={name}").algorithm, **changes)
    return made


def able(name: str, dataset: Dataset) -> bool:
    """Whether the algorithm is one for such a dataset's tasks."""
    posed = problem(dataset)
    try:
        algorithm(name).check(posed)
    except UserError:
        return False
    return isinstance(posed.kind, algorithm(name).kinds)


def with_keys(of: Algorithm, **changes: Any) -> Algorithm:
    """The algorithm with those of the ``changes`` that it has a key for."""
    names = {field.name for field in fields(of)}
    return replace(of, **{name: value for name, value in changes.items() if name in names})


def build(dataset: Dataset, *overrides: str, **changes: Any) -> tuple[Learner, MetaParameters]:
    """A float64 learner for a dataset and its first φ; ``changes`` are keys of the algorithm, where it has them."""
    chosen = settings("device.precision=float64", *overrides)
    if not any(override.startswith("likelihood=") for override in overrides):
        chosen = replace(chosen, likelihood=dataset.kind("test").likelihood)
    return assemble.compose(replace(chosen, algorithm=with_keys(chosen.algorithm, **changes)), dataset, CPU)


def moved(phi: MetaParameters, by: float = 0.05) -> MetaParameters:
    """φ at some other place: at its start, layers that begin at zero hide what lies behind them."""
    generator = torch.Generator().manual_seed(0)
    return {
        group: {
            name: tensor + by * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
            for name, tensor in tensors.items()
        }
        for group, tensors in phi.items()
        if group != MEMORY
    } | {
        # Some of what is remembered is a mean of squares.
        group: {
            name: tensor + by * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype).abs()
            for name, tensor in tensors.items()
        }
        for group, tensors in phi.items()
        if group == MEMORY
    }


def task_of(batch: TaskBatch, number: int) -> Task:
    """One task of a batch."""
    one: Task = tree_map(lambda tensor: tensor[number], batch)
    return one


def alone(task: Task) -> TaskBatch:
    """A batch of one task."""
    batch: TaskBatch = tree_map(lambda tensor: tensor[None], task)
    return batch


def padded(examples: Examples, rows: int) -> PaddedExamples:
    """Examples with so many rows of zeros behind them that fill up."""
    x, y = tree_map(lambda part: torch.cat((part, part.new_zeros(rows, *part.shape[1:]))), tuple(examples))
    mask = torch.cat((torch.ones(len(examples.y)), torch.zeros(rows))).to(one_of(examples.x).dtype)
    return PaddedExamples(x, y, mask)


def looped(
    learner: Learner, phi: MetaParameters, tasks: TaskBatch, progress: float = 0.0
) -> tuple[MetaParameters, dict[str, Tensor]]:
    """What `MetaGradient` computes, by a plain loop over tasks: the mean gradient (for `MEMORY` the mean of the tasks'
    reports) and the mean metrics.
    """
    leaves = {group: {n: t.clone().requires_grad_() for n, t in tensors.items()} for group, tensors in phi.items()}
    flat = {(group, n): tensor for group, tensors in leaves.items() for n, tensor in tensors.items()}
    gradient = {group: {n: torch.zeros_like(t) for n, t in tensors.items()} for group, tensors in phi.items()}
    count, metrics = len(tasks.number), []
    for number in range(count):
        task = task_of(tasks, number)
        draws = {name: value[0] for name, value in learner.draws(alone(task), False, progress).items()}
        objective, (measured, reports) = learner.objective_and_reports(leaves, task, draws)
        for n, report in reports.items():
            gradient[MEMORY][n] += report / count
        parts = torch.autograd.grad(objective, list(flat.values()), allow_unused=True)
        for (group, n), part in zip(flat, parts, strict=True):
            gradient[group][n] += 0 if part is None else part / count
        metrics.append(measured)
    return gradient, {name: torch.stack([one[name] for one in metrics]).mean().detach() for name in metrics[0]}


def waves(shots: int = 5, queries: int = 6, dtype: torch.dtype = torch.float64) -> Sinusoid:
    """Sine waves."""
    config = settings("dataset=sinusoid").dataset
    return Sinusoid(replace(config, shots=shots, queries=queries), Seeds(0, 0), CPU, dtype)


class Blobs:
    """Classification of small images: a class is a random pattern, an example the pattern under noise."""

    name = "blobs"
    inputs = InputSpec.of((1, 12, 12))
    classes = 40
    groups: tuple[str, ...] = ()
    grouped_test = False

    def __init__(self, ways: int = 3, shots: int = 2, queries: int = 2, noise: float = 1.0, known: int = 0) -> None:
        """``known``: so many meta-training tasks have an identity, and all tasks a descriptor."""
        self.ways, self.shots, self.queries, self.noise, self.known_tasks = ways, shots, queries, noise, known
        self.descriptor_size = 2 if known else 0
        self.training_classes = self.classes

    def kind(self, stream: str) -> Classification:
        return Classification(self.ways)

    def sample(self, stream: str, index: int, tasks: int, group: int | None = None) -> TaskBatch:
        numbers = index * tasks + torch.arange(tasks)
        of = keys(key(0, "blobs", stream), numbers)
        each = self.shots + self.queries
        coarse = uniform(keys(key(0, "patterns", split_of(stream)), torch.arange(self.classes)), 16).view(-1, 4, 4)
        patterns = coarse.repeat_interleave(3, 1).repeat_interleave(3, 2) - 0.5
        noise = uniform(keys(of, torch.tensor(1)), self.ways * each * 144) - 0.5
        shape = (tasks, self.ways, each, 1, 12, 12)
        classes = choose(of, self.classes, self.ways)
        x = patterns[classes].view(tasks, self.ways, 1, 1, 12, 12)
        x = x + self.noise * noise.view(shape)
        y = torch.arange(self.ways).view(1, -1, 1).expand(tasks, -1, each)
        support, query = (slice(self.shots), slice(self.shots, None))
        return batch(
            Examples(x[:, :, support].flatten(1, 2), y[..., support].flatten(1)),
            Examples(x[:, :, query].flatten(1, 2), y[..., query].flatten(1)),
            numbers,
            numbers % self.known_tasks if self.known_tasks and stream == "train" else None,
            uniform(of, self.descriptor_size),
            classes,
        )

    def distinct(self, stream: str, group: int | None = None) -> None:
        return

    def facts(self, stream: str, tasks: TaskBatch) -> dict[str, list[str]]:
        return {}

    def summary(self) -> str:
        return self.name

    def protocol(self) -> dict[str, Any]:
        return {"dataset": self.name}


class Linear(nn.Module):
    """ŷ = w·x, whose inner loop and meta-gradient have a closed form."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.head = nn.Linear(inputs, 1, bias=False, dtype=torch.float64)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return self.head(x)


def linear(algorithm: Algorithm, inputs: int = 4) -> tuple[Learner, MetaParameters]:
    """A learner of linear regression, and its first φ."""
    torch.manual_seed(0)
    model = TaskModel(Linear(inputs), Regression(), "none", transductive=False)
    posed = Problem("linear", InputSpec.of((inputs,)), Regression(), Regression(), 0, 0, 0)
    penalties = settings().regularizer
    made = Learner(
        posed,
        model,
        Nothing(),
        NoHypernet().build(0, dict(model.network.named_parameters())),
        algorithm,
        penalties,
    )
    return made, made.initial()


def regressions(tasks: int = 3, inputs: int = 4, support: int = 6, query: int = 5) -> TaskBatch:
    """Random linear regressions."""
    generator = torch.Generator().manual_seed(1)

    def examples(n: int) -> Examples:
        x = torch.randn(tasks, n, inputs, generator=generator, dtype=torch.float64)
        return Examples(x, torch.randn(tasks, n, 1, generator=generator, dtype=torch.float64))

    return batch(examples(support), examples(query), torch.arange(tasks))
