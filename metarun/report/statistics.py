"""Means over seeds and over episodes with their intervals, each source of variance by itself, and both at once."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import fsum, sqrt

from metarun.intervals import Estimate, clustered_mean, p_value, paired_difference
from metarun.student import quantile


@dataclass(frozen=True)
class Measured:
    """One seed's values, a number per episode, and the task of each episode.

    Tasks of two seeds that are equal are the same task: seeds that share episodes, or tasks, have equal ones.
    """

    values: Sequence[float]
    tasks: Sequence[Hashable]


def mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)


def over_seeds(values: Sequence[float]) -> Estimate:
    """The mean of one figure per seed, and how well it is known for seeds that might have been drawn.

    For seeds that share their episodes this is the mean on *these* episodes. Where each has its own, their variance is
    part of the variance between the figures.
    """
    return clustered_mean(values)


def over_episodes(seeds: Sequence[Measured]) -> Estimate:
    """The mean over seeds of their means, and how well it is known for *these* trained models on other episodes.

    With shared episodes, values are first averaged over seeds episode by episode: episodes that are hard for one model
    are hard for others, so that variances of the seeds' means do not add up. With R_g the sum of a task's residuals
    from the mean of their seed, weighted by 1 / (seeds · episodes of the seed), the variance is
    G / (G - c) · Σ_g R_g² for G tasks and c sets of seeds that share no task, with G - c degrees of freedom.
    """
    middle = mean([mean(one.values) for one in seeds])
    totals: dict[Hashable, float] = {}
    for one in seeds:
        center, weight = mean(one.values), 1 / (len(seeds) * len(one.values))
        for value, task in zip(one.values, one.tasks, strict=True):
            totals[task] = totals.get(task, 0.0) + weight * (value - center)
    count, freedom = len(totals), len(totals) - _unconnected(seeds)
    if freedom < 1:
        return Estimate(middle, None, count)
    variance = count / freedom * fsum(total * total for total in totals.values())
    return Estimate(middle, quantile(freedom) * sqrt(variance), count)


def without_episodes(seeds: Sequence[Estimate], shared: bool) -> Estimate:
    """As `over_episodes` where only each seed's mean and interval are known, not its episodes.

    shared: whether seeds were measured on the same episodes. Then the half-width is the mean of theirs, which is exact
    where all models find the same episodes hard and too wide otherwise. If not, variances add: √Σh² / k.
    """
    middle = mean([one.mean for one in seeds])
    halves = [one.half for one in seeds if one.half is not None]
    if len(halves) < len(seeds):
        return Estimate(middle, None)
    return Estimate(middle, mean(halves) if shared else sqrt(fsum(half * half for half in halves)) / len(seeds))


@dataclass(frozen=True)
class Paired:
    """First minus second, over the episodes that both were measured on."""

    difference: Estimate
    p: float | None
    """Of a two-sided paired t-test, clustered by task; ``None`` where there is a single task."""
    more: int
    less: int
    equal: int

    @property
    def episodes(self) -> int:
        return self.more + self.less + self.equal


def paired(first: Sequence[float], second: Sequence[float], tasks: Sequence[Hashable] | None = None) -> Paired:
    """The paired t-test of two runs on the same episodes; ``tasks``: of each, ``None``: every episode is its own."""
    differences = [a - b for a, b in zip(first, second, strict=True)]
    found = paired_difference(first, second, tasks)
    more, less = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    return Paired(found.difference, found.p, more, less, len(differences) - more - less)


@dataclass(frozen=True)
class Effect:
    """A mean difference over seeds and episodes, tested against 0.

    difference: its interval holds for other seeds and other episodes (tasks) at once; with a single seed for other
    episodes alone. p: of a two-sided t-test, ``None`` where there is no interval. seeds, tasks: how many of each.
    """

    difference: Estimate
    p: float | None
    seeds: int
    tasks: int


def crossed(seeds: Sequence[Measured]) -> Effect:
    """The mean of differences over seeds and episodes, both taken for samples.

    The variance of the mean is V_seeds + V_tasks - V_cells, the cluster-robust variances by seed, by task and by both
    (Cameron, Gelbach & Miller 2011), and at least the larger of the first two. Degrees of freedom are Satterthwaite's,
    rounded down: V² / (V_seeds² / (seeds - 1) + V_tasks² / (tasks - 1)). With separate tasks for every seed this is the
    t-test over the seeds' means, and with one seed that over tasks.
    """
    middle = mean([mean(one.values) for one in seeds])
    by_task: dict[Hashable, float] = {}
    by_seed: list[float] = []
    by_cell: list[float] = []
    for one in seeds:
        weight = 1 / (len(seeds) * len(one.values))
        own: dict[Hashable, float] = {}
        for value, task in zip(one.values, one.tasks, strict=True):
            own[task] = own.get(task, 0.0) + weight * (value - middle)
        for task, total in own.items():
            by_task[task] = by_task.get(task, 0.0) + total
        by_seed.append(fsum(own.values()))
        by_cell += own.values()
    of_seeds, of_tasks, of_cells = (_variance(list(totals)) for totals in (by_seed, by_task.values(), by_cell))
    tasks = len(by_task)
    if of_cells is None or (of_seeds is None and of_tasks is None) or (of_seeds is not None and of_tasks is None):
        # A single task, or a single value: nothing says how much others would differ.
        return Effect(Estimate(middle, None, tasks), None, len(seeds), tasks)
    assert of_tasks is not None
    if of_seeds is None:
        variance, freedom = of_tasks, tasks - 1
    elif tasks == len(by_cell):  # no seed shares a task with another
        variance, freedom = of_seeds, len(seeds) - 1
    else:
        variance = max(of_seeds + of_tasks - of_cells, of_seeds, of_tasks)
        parts = of_seeds**2 / (len(seeds) - 1) + of_tasks**2 / (tasks - 1)
        freedom = max(1, int(variance**2 / parts)) if parts else tasks - 1
    error = sqrt(variance)
    half = quantile(freedom) * error
    return Effect(Estimate(middle, half, tasks), p_value(middle, error, freedom), len(seeds), tasks)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """The p-values corrected for their number (Holm 1979); ``None`` stays and is not counted."""
    found: list[float | None] = [None] * len(ps)
    tested = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    highest = 0.0
    for before, (p, place) in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - before) * p))
        found[place] = highest
    return found


def _variance(totals: Sequence[float]) -> float | None:
    """The variance of a sum of independent totals that are 0 on average, with the factor n / (n - 1)."""
    count = len(totals)
    return count / (count - 1) * fsum(total * total for total in totals) if count > 1 else None


def _unconnected(seeds: Sequence[Measured]) -> int:
    """Into how many sets the seeds fall that share no task."""
    sets: list[set[Hashable]] = []
    for one in seeds:
        tasks = set(one.tasks)
        apart = [other for other in sets if other.isdisjoint(tasks)]
        sets = [*apart, tasks.union(*(other for other in sets if not other.isdisjoint(tasks)))]
    return len(sets)
