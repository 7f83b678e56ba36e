"""Means over seeds and over episodes with their intervals, each source of variance by itself, and both at once."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import fsum, sqrt

from metarun.core.intervals import Estimate, clustered_mean, p_value, paired_difference
from metarun.core.student_t import inverse, quantile, within


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

    V_seeds is the variance of the mean by seed: what differs between seeds, and what is left over. V_tasks is that by
    task (`over_episodes`) and V_rest the part of it that is left over, from the deviations of a task within seeds from
    its mean over seeds; V_tasks - V_rest, at least 0, is what differs between tasks for all seeds alike. With equal
    clusters these are the mean squares of a two-way analysis of variance. Each of the two has degrees of freedom of its
    own, very few for seeds, and their half-widths add in squares:
    h² = t²(seeds - 1) · V_seeds + t²(tasks - 1) · (V_tasks - V_rest). p is where h is the mean itself. With separate
    tasks for every seed this is the t-test over the seeds' means, and with one seed that over tasks.
    """
    means = [mean(one.values) for one in seeds]
    middle, cells = mean(means), []
    members: dict[Hashable, list[float]] = {}
    for one, center in zip(seeds, means, strict=True):
        by_task: dict[Hashable, float] = {}
        for value, task in zip(one.values, one.tasks, strict=True):
            by_task[task] = by_task.get(task, 0.0) + (value - center) / (len(seeds) * len(one.values))
        cells.append(by_task)
        for task, total in by_task.items():
            members.setdefault(task, []).append(total)
    tasks = len(members)
    separate = len(seeds) > 1 and tasks == sum(map(len, cells))
    parts: list[tuple[float, int]] = []
    if len(seeds) > 1:
        parts.append((_variance([(each - middle) / len(seeds) for each in means]), len(seeds) - 1))
    if not separate and tasks > 1:
        rest = fsum((total - mean(of_task)) ** 2 for of_task in members.values() for total in of_task)
        left = rest * len(seeds) / (len(seeds) - 1) * tasks / (tasks - 1) if len(seeds) > 1 else 0.0
        parts.append((max(0.0, _variance(list(map(fsum, members.values()))) - left), tasks - 1))
    elif not separate:
        # A single task, or a single value: nothing says how much others would differ.
        return Effect(Estimate(middle, None, tasks), None, len(seeds), tasks)
    half = sqrt(fsum(quantile(freedom) ** 2 * variance for variance, freedom in parts))
    return Effect(Estimate(middle, half, tasks), _p(middle, parts), len(seeds), tasks)


def _p(middle: float, parts: Sequence[tuple[float, int]]) -> float:
    """Two-sided p where independent variances with their degrees of freedom add up (see `crossed`)."""
    (of_first, first), *more = [(variance, freedom) for variance, freedom in parts if variance > 0] or [(0.0, 1)]
    if not more:
        return p_value(middle, sqrt(of_first), first)
    ((of_second, second),) = more
    low, high = 0.0, abs(middle) / sqrt(of_second)
    for _ in range(100):
        t = (low + high) / 2
        if inverse(within(t, second), first) ** 2 * of_first + t * t * of_second < middle * middle:
            low = t
        else:
            high = t
    return max(0.0, 1 - within(low, second))


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """The p-values corrected for their number (Holm 1979); ``None`` stays and is not counted."""
    found: list[float | None] = [None] * len(ps)
    tested = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    highest = 0.0
    for before, (p, place) in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - before) * p))
        found[place] = highest
    return found


def _variance(totals: Sequence[float]) -> float:
    """The variance of a sum of two or more independent totals that are 0 on average, with the factor n / (n - 1)."""
    return len(totals) / (len(totals) - 1) * fsum(total * total for total in totals)


def _unconnected(seeds: Sequence[Measured]) -> int:
    """Into how many sets the seeds fall that share no task."""
    sets: list[set[Hashable]] = []
    for one in seeds:
        tasks = set(one.tasks)
        apart = [other for other in sets if other.isdisjoint(tasks)]
        sets = [*apart, tasks.union(*(other for other in sets if not other.isdisjoint(tasks)))]
    return len(sets)
