"""Task selection for a meta-update: representative or hard tasks of a pool of candidates.

Representative tasks (k-center, k-medoids) are chosen by distance, of task embeddings where the run has any, else of how
the tasks pull on their start: the gradient of the loss on the support set by θ at θ⁰. Each counts as often as there are
candidates nearest to it, so that the meta-gradient is an estimate of the whole pool's. Hard tasks are drawn without
replacement, with probability ∝ rank^(1/temperature), by the rank of their query loss after adaptation, 1 being the
easiest (`ranks`); they all count alike, so that the meta-gradient leans towards them.

Of meta-update n with T tasks the candidates are tasks n·pool·T to (n + 1)·pool·T − 1 of the stream. Everything is a
function of them and of φ.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import grad
from torch.utils._pytree import tree_map

from metarun.algorithms.base import Draws, Learned
from metarun.algorithms.outer_loop import TaskSelection
from metarun.core import counters
from metarun.core.tasks import Task, TaskBatch, chunks
from metarun.datasets.base import Sampler
from metarun.engine.meta_gradient import Metrics
from metarun.engine.over_tasks import over_tasks
from metarun.engine.processes.single import SINGLE_PROCESS, Processes, part
from metarun.learner.learner import Learner, MetaParameters
from metarun.models.base import Parameters

SKETCH = 4099
"""Most numbers kept of a task's gradient: distances among sketches of so many are within a few percent of the true
ones. A prime, so that weights at the same place of several units rarely share a number."""
ROUNDS = 100
"""Most rounds of k-medoids, which nearly always stops within ten."""
TIE = 1e-9
"""Sums of distances that differ by a smaller part are equal. Either of two tasks that are far from all others stands
for both just as well, and rounding shall not choose: it is another in another number of processes."""
TINY = 1e-30
"""Keeps the logarithm of a random number finite."""


class Chosen(NamedTuple):
    """Tasks to learn from, of which this process has its share. weights: what each of these counts; over all tasks of
    the meta-batch their mean is 1. metrics: how the meta-batch stands among the pool.
    """

    batch: TaskBatch
    weights: Tensor | None
    metrics: Metrics


class Selector:
    """Samples the meta-batches of ``tasks`` tasks each, candidates being looked at ``chunk`` at once (``None``: so many
    as a meta-batch has). All ``processes`` choose alike, from what each found of its share.
    """

    def __init__(
        self,
        settings: TaskSelection,
        learner: Learner,
        dataset: Sampler,
        tasks: int,
        chunk: int | None,
        processes: Processes = SINGLE_PROCESS,
    ) -> None:
        self._settings, self._dataset, self._tasks, self._chunk = settings, dataset, tasks, chunk or tasks
        self._processes = processes
        # Training labels may be more than the task model's kind knows.
        self._learner = replace(learner, model=replace(learner.model, kind=learner.problem.training_kind))

    def __call__(self, phi: MetaParameters, step: int, progress: float, group: int | None) -> Chosen:
        """The meta-batch of meta-update ``step`` (from 0) at ``phi``; ``progress`` and ``group`` as elsewhere."""
        if self._settings.select == "all":
            return Chosen(self._processes.sample(self._dataset, "train", step, self._tasks, group), None, {})
        pool = self._dataset.sample("train", step, self._settings.pool * self._tasks, group)
        if self._settings.select == "loss":
            return self._hard(phi, pool, progress)
        return self._representative(phi, pool)

    def _representative(self, phi: MetaParameters, pool: TaskBatch) -> Chosen:
        with torch.no_grad():
            told = self._of_all(pool, lambda tasks: over_tasks(self._features)(phi, tasks))
        distances = apart(told)
        choose = k_center if self._settings.select == "k_center" else k_medoids
        chosen = choose(distances, self._tasks).sort().values
        counts = represented(distances, chosen)
        # The first candidates are as random as any.
        first = torch.arange(self._tasks)
        ratio = ratio_of(to_nearest(distances, chosen).mean(), to_nearest(distances, first).mean())
        local = self._processes.local_slice(self._tasks)
        return Chosen(
            tree_map(lambda tensor: tensor[chosen[local].to(tensor.device)], pool),
            counts[local] * (self._tasks / len(distances)),
            {"tasks/distance_ratio": ratio},
        )

    def _features(self, phi: MetaParameters, task: Task) -> Tensor:
        """Features of a task by which distances are computed, ``[features]``."""
        learner = self._learner
        embedding = learner.embed(phi, task, testing=False)
        if len(embedding):
            return embedding

        def loss(theta: Parameters) -> Tensor:
            return learner.unadapted_loss(phi, theta, task, learning=True)

        slopes = grad(loss)(learner.generate(phi, embedding))
        return sketch(torch.cat([slope.flatten() for slope in slopes.values()]), learner.seed)

    def _hard(self, phi: MetaParameters, pool: TaskBatch, progress: float) -> Chosen:
        learner, algorithm = self._learner, self._learner.algorithm
        assert isinstance(algorithm, Learned)

        def loss(phi: MetaParameters, task: Task, draws: Draws) -> Tensor:
            params, start = phi["algorithm"], learner.start(phi, task, testing=False)
            model = learner.for_task(phi, learning=True)
            state = algorithm.adapt(model, params, start, task.support, draws)
            return algorithm.query_loss(model, params, state, task).objective

        def losses_of(tasks: TaskBatch) -> Tensor:
            draws = learner.draws(tasks, testing=False, progress=progress)
            return over_tasks(loss)(phi, tasks, draws)

        with torch.no_grad():
            losses = self._of_all(pool, losses_of).double()
        noise = counters.keys(counters.key(learner.seed, "task selection"), pool.number)
        chosen = drawn(losses, noise, self._settings.temperature, self._tasks).sort().values
        local = self._processes.local_slice(self._tasks)
        return Chosen(
            tree_map(lambda tensor: tensor[chosen[local]], pool),
            None,
            {"tasks/loss_rank": (ranks(losses)[chosen].mean() - 0.5) / len(losses)},
        )

    def _of_all(self, pool: TaskBatch, look: Callable[[TaskBatch], Tensor]) -> Tensor:
        """What ``look`` finds of every candidate, ``[n, ...]``."""
        local = part(pool, self._processes.local_slice(len(pool.number)))
        found = torch.cat([look(tasks) for tasks in chunks(local, self._chunk)])
        return torch.cat(self._processes.all_gather([found], self._processes.count))


def sketch(vector: Tensor, seed: int) -> Tensor:
    """A vector ``[n]``, or where it is longer than `SKETCH` a random projection of it that keeps distances.

    Numbers `SKETCH` apart are added under random signs, which the run's ``seed`` decides: the count sketch of Charikar,
    Chen & Farach-Colton (2002) with places in turn instead of random ones. Squares of norms are right on average.
    """
    size = len(vector)
    if size <= SKETCH:
        return vector
    odd = counters.keys(counters.key(seed, "sketch of gradients"), torch.arange(size, device=vector.device)) & 1
    signed = torch.cat((vector * (1 - 2 * odd), vector.new_zeros(-size % SKETCH)))
    return signed.view(-1, SKETCH).sum(0)


def apart(points: Tensor) -> Tensor:
    """Distances ``[n, n]`` of points ``[n, features]``, in double precision on CPU."""
    told = points.double().cpu()
    return torch.cdist(told, told).fill_diagonal_(0)


def k_center(distances: Tensor, count: int) -> Tensor:
    """``count`` points of ``[n, n]`` distances, each the farthest from those before; the first is the medoid of all.

    The largest distance of any point to its nearest is at most twice the least possible (Gonzalez 1985).
    """
    chosen = [int(distances.sum(1).argmin())]
    nearest = distances[chosen[0]].clone()
    while len(chosen) < count:
        nearest[chosen[-1]] = -1  # or of points that are all alike one would be taken again
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, distances[chosen[-1]])
    return torch.tensor(chosen)


def k_medoids(distances: Tensor, count: int) -> Tensor:
    """``count`` points of ``[n, n]`` distances such that the sum of distances of points to their nearest is small.

    Begun greedily, each point the one that lowers the sum most (BUILD of Kaufman & Rousseeuw 1990), then by turns each
    point to its nearest and each cluster to its medoid, until nothing changes.
    """
    chosen = torch.zeros(0, dtype=torch.int64)
    nearest = torch.full_like(distances[0], torch.inf)
    for _ in range(count):
        sums = torch.minimum(nearest[:, None], distances).sum(0)
        sums[chosen] = torch.inf
        chosen = torch.cat((chosen, least(sums)[None]))
        nearest = torch.minimum(nearest, distances[chosen[-1]])
    for _ in range(ROUNDS):
        belongs = belonging(distances, chosen)
        together = belongs[:, None] == belongs
        sums = torch.where(together, distances, 0).sum(1)
        medoids = torch.stack([least(torch.where(belongs == place, sums, torch.inf)) for place in range(count)])
        # Of equals the present one, so that it ends.
        medoids = torch.where(sums[medoids] < sums[chosen] * (1 - TIE), medoids, chosen)
        if medoids.equal(chosen):
            break
        chosen = medoids
    return chosen


def least(sums: Tensor) -> Tensor:
    """The first place of the least of ``sums`` ``[n]``, which are at least 0, or of one that is equal to it."""
    return (sums <= sums.min() * (1 + TIE)).int().argmax()


def belonging(distances: Tensor, chosen: Tensor) -> Tensor:
    """Which of the ``chosen`` ``[T]`` each point is nearest to, ``[n]``; each of these itself, whatever is as near."""
    to_chosen = distances[:, chosen].clone()
    to_chosen[chosen, torch.arange(len(chosen))] = -1
    return to_chosen.argmin(1)


def represented(distances: Tensor, chosen: Tensor) -> Tensor:
    """How many of all points each of the ``chosen`` ``[T]`` is nearest to, itself included; float64."""
    return torch.bincount(belonging(distances, chosen), minlength=len(chosen)).double()


def to_nearest(distances: Tensor, chosen: Tensor) -> Tensor:
    """The distance ``[n]`` of each point to the nearest of the ``chosen``."""
    return distances[:, chosen].amin(1)


def drawn(losses: Tensor, noise: Tensor, temperature: float, count: int) -> Tensor:
    """``count`` places of ``losses`` ``[n]``, drawn one after another with probability ∝ rank^(1/temperature).

    By the Gumbel-max trick for drawing without replacement (Kool, van Hoof & Welling 2019): the largest of log-weights
    with Gumbel noise, made from the keys ``noise`` ``[n]``.
    """
    uniform = counters.uniform(noise, 1).squeeze(-1)
    gumbel = -torch.log(-torch.log(uniform.clamp_min(TINY)))
    return torch.topk(ranks(losses).log() / temperature + gumbel, count).indices


def ranks(losses: Tensor) -> Tensor:
    """From 1, the least of ``losses`` ``[n]``, to n; equal ones share the mean of their ranks. float64 ``[n]``.

    Ranks mean the same whether or not a loss can be negative, as that of a Gaussian likelihood can, and no outlier
    takes all the chances. What differs by a smaller part than `TIE` is equal; NaN is the largest.
    """
    told = torch.where(losses.isnan(), torch.inf, losses).double()
    size = told[told.isfinite()].abs()
    close = (told[:, None] - told).abs() <= TIE * (size.max() if len(size) else 0)
    equal = close | (told[:, None] == told)
    more = (told[:, None] > told) & ~equal
    return more.sum(1) + (equal.sum(1) + 1) / 2


def ratio_of(value: Tensor, to: Tensor) -> Tensor:
    """``value / to``; 1 where both are 0."""
    return torch.where(to > 0, value / torch.where(to > 0, to, 1), torch.ones_like(to))
