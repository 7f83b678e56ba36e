"""Chunks of tasks and compiling change rounding and nothing else, for every algorithm."""

from typing import Any

import pytest
import torch
from builders import ALGORITHMS, CONV, HYPERNET, MLP, Blobs, able, build, moved, waves
from torch import Tensor
from torch.utils._pytree import tree_map

from metarun.algorithms.base import Learned
from metarun.core.tasks import PaddedExamples, TaskBatch
from metarun.datasets.base import Dataset
from metarun.engine.compile.compilation import BEGINNING_AND_END
from metarun.engine.evaluation import Evaluator
from metarun.engine.meta_gradient import MetaGradient

CHUNK = 2
SHORT = {"inner_steps": 2, "test_steps": 2, "inner_lr": 0.05, "blocks": 2}
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-5}
"""Largest difference from all tasks at once in float64, relative to the norm; and beyond that, in float32, `ROOM`."""
ROOM = 2.0
"""How many times as far from float64 it may be as all tasks at once, uncompiled, in float32 are. That is 1e-6 for most,
but 0.06 with Adam in the inner loop, which makes full steps of gradients that are zero but for rounding: those of the
biases before a normalization.
"""
COUNTED = ("accuracy", "precision", "recall", "f1", "ece")
"""Metrics that count predictions: one that is undecided but for rounding moves them by a whole example."""


class Posed:
    """A dataset in another precision, its tasks differing in size where ``sizes`` says so."""

    def __init__(self, dataset: Any, dtype: torch.dtype, sizes: bool) -> None:
        self.dataset, self.dtype, self.sizes = dataset, dtype, sizes

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dataset, name)

    def sample(self, stream: str, index: int, tasks: int, group: int | None = None) -> TaskBatch:
        drawn = self.dataset.sample(stream, index, tasks, group)
        if self.sizes:
            x, y = drawn.support
            mask = (torch.arange(x.shape[1]) < x.shape[1] - drawn.number[:, None] % 4).to(x.dtype)
            drawn = drawn._replace(support=PaddedExamples(x * mask[..., None], y * mask[..., None], mask))
        return tree_map(lambda tensor: tensor.to(self.dtype) if tensor.is_floating_point() else tensor, drawn)


PROBLEMS: dict[str, tuple[Dataset, tuple[str, ...]]] = {
    "classification": (Blobs(), ("model=mlp", "model.hidden=[6,6]", "model.normalization=batch")),
    "regression": (waves(), MLP),
    "sizes": (waves(), MLP),
    "images": (Blobs(), CONV),
}
OPTIONS = {
    "minibatches and Adam": (
        "maml", "regression", "algorithm.minibatch=3", "algorithm.inner_optimizer.name=adam",
        "algorithm.inner_optimizer.momentum=0.5",
    ),
    "recomputed": ("maml", "regression", "algorithm.recompute=true"),
    "running statistics": ("maml", "classification", "model.normalization=running"),
    "statistics over all tasks": ("protonet", "classification", "model.normalization=global"),
    "statistics over all tasks of images": ("r2d2", "images", "model.normalization=global"),
    "a cosine head on frozen features": (
        "finetune", "classification", "algorithm.head=cosine", "algorithm.tunes=head",
    ),
    "the nearest centroid": ("finetune", "classification", "algorithm.head=nearest_centroid"),
    "a learned optimizer": ("mbml", "regression", "algorithm.optimizer_units=4"),
    "full context": ("matching", "classification", "algorithm.full_context=true"),
    "ridge": ("metaopt", "classification", "algorithm.head=ridge"),
    "hypernet=full": ("maml", "regression", *HYPERNET),
    "hypernet=film": ("reptile", "classification", "hypernet=film", *HYPERNET[1:]),
}  # fmt: skip
OPTIONAL = [pytest.param(name, problem, tuple(rest), id=case) for case, (name, problem, *rest) in OPTIONS.items()]
"""Settings that take other ways through the code."""


def cases(*problems: str) -> list[Any]:
    """Every algorithm on all of these problems that it is for."""
    return [
        pytest.param(name, problem, (), id=f"{name}-{problem}")
        for name in ALGORITHMS
        for problem in problems
        if able(name, PROBLEMS[problem][0])
    ]


def each(first: str, second: str) -> list[Any]:
    """Every algorithm on the first problem, or the second where the first is not for it."""
    return [
        pytest.param(name, problem, (), id=f"{name}-{problem}")
        for name in ALGORITHMS
        for problem in [first if able(name, PROBLEMS[first][0]) else second]
    ]


def computed(
    name: str, problem: str, options: tuple[str, ...], dtype: torch.dtype, tasks: int, chunk: int | None, compiled: bool
) -> dict[str, Tensor]:
    """Groups of the meta-gradient at the beginning and the end of training, where there is one, and the mean metrics;
    and the metrics of as many episodes. Each a vector.
    """
    dataset, model = PROBLEMS[problem]
    posed: Any = Posed(dataset, dtype, problem == "sizes")
    chosen, precision = (f"algorithm={name}", *model, *options), str(dtype).removeprefix("torch.")
    learner, _ = build(posed, *chosen, f"device.precision={precision}", **SHORT)
    # Away from its start, where layers that begin at zero hide what lies behind them; in any precision the same.
    phi = tree_map(lambda tensor: tensor.to(dtype), moved(build(posed, *chosen, **SHORT)[1], 0.02))
    found = {}
    if compiled:
        torch.compiler.reset()  # its limit of variants counts over all learners of a process
    if isinstance(learner.algorithm, Learned):
        meta_gradient = MetaGradient(learner, chunk, compiled)
        weights = torch.linspace(0.5, 1.5, tasks, dtype=dtype)
        for progress in BEGINNING_AND_END:
            gradient, metrics = meta_gradient(phi, posed.sample("train", 0, tasks), progress, weights)
            found |= {
                f"∇{group} at {progress}": torch.cat([tensor.flatten() for tensor in tensors.values()])
                for group, tensors in gradient.items()
                if tensors
            }
            found |= {f"{metric} at {progress}": value for metric, value in metrics.items()}
    episodes = Evaluator(learner, chunk, compiled)(phi, posed, "test", tasks)
    found |= {f"{metric} of episodes": values for metric, values in episodes.curves.items()}
    return found | {name: torch.tensor(value, dtype=torch.float64) for name, value in episodes.pooled.items()}


def check(case: tuple[str, str, tuple[str, ...]], dtype: torch.dtype, tasks: int, compiled: bool) -> None:
    """In chunks against all tasks at once, uncompiled."""
    wanted = computed(*case, torch.float64, tasks, None, compiled=False)
    assert all(values.norm() > 0 for values in wanted.values())
    found = computed(*case, dtype, tasks, CHUNK, compiled)
    whole = wanted if dtype == torch.float64 else computed(*case, dtype, tasks, None, compiled=False)
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        if dtype == torch.float64 or not name.startswith(COUNTED):
            apart, usual = (float((one[name].double() - values).norm() / values.norm()) for one in (found, whole))
            assert apart <= ROUNDING[dtype] + ROOM * usual, f"{name}: {apart:.1e} of its norm"


@pytest.mark.parametrize(("name", "problem", "options"), [*cases("classification", "regression", "sizes"), *OPTIONAL])
def test_uneven_chunks_equal_the_whole(name: str, problem: str, options: tuple[str, ...]) -> None:
    for dtype in ROUNDING:
        check((name, problem, options), dtype, 5, compiled=False)


@pytest.mark.compiling
@pytest.mark.parametrize(("name", "problem", "options"), [*each("regression", "classification"), *OPTIONAL])
def test_compiled_uneven_chunks_equal_the_whole(name: str, problem: str, options: tuple[str, ...]) -> None:
    check((name, problem, options), torch.float64, 5, compiled=True)


@pytest.mark.compiling
@pytest.mark.parametrize(("name", "problem", "options"), each("images", "regression"))
def test_compiled_chunks_equal_the_whole_in_float32(name: str, problem: str, options: tuple[str, ...]) -> None:
    """Even ones: a graph for one size of chunks less to compile."""
    check((name, problem, options), torch.float32, 4, compiled=True)
