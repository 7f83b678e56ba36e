"""Differences between configurations, paired by seed and episode over all seeds at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from metarun.core.errors import UserError
from metarun.report import keys
from metarun.report.episodes import episodes, shared
from metarun.report.grouping import Configuration, Group
from metarun.report.runs import HUGE, Run, Unreadable
from metarun.report.statistics import Effect, Measured, crossed, holm
from metarun.report.table import Table
from metarun.report.text import NOTHING, figure, probability

Pair = tuple[Configuration, Configuration]
Condition = tuple[str, str]
"""A key's full name and the value that it must have, as typed."""
NOTE = (
    "±: half-width of the 95 % interval for other seeds and other episodes at once (of one seed: other episodes); "
    "p: two-sided t-test; Holm: corrected for the number of rows"
)


@dataclass(frozen=True)
class Contrast:
    """One row: what is compared, in cells, and what was found; ``None`` where there is nothing to pair.

    seeds: how many could be paired; of: how many there are.
    """

    names: list[str]
    found: Effect | None
    seeds: int
    of: int


def contrast(pairs: Sequence[Pair], metric: str) -> Effect | None:
    """The mean of first minus second at meta-test over ``pairs``, by the seeds that all of them have.

    Differences are averaged over pairs, episode by episode. Where the episodes of a seed are unknown or not the same
    for all, its mean difference is used alone. ``None`` where no seed has a figure in all.
    """
    figures = [tuple(_by_seed(one, metric) for one in pair) for pair in pairs]
    common = [seed for seed in figures[0][0] if all(seed in one for pair in figures for one in pair)]
    if not common:
        return None
    runs = [[(first[seed], second[seed]) for first, second in figures] for seed in common]
    return crossed(_by_episode(runs, metric) or [_mean(mine, metric, seed) for seed, mine in enumerate(runs)])


def table(group: Group, title: str, header: list[str], rows: Sequence[Contrast], metric: str) -> Table:
    """Contrasts as a table: ``header`` names their first cells."""
    corrected = holm([row.found.p if row.found else None for row in rows])
    better = "less" if group.lower_is_better(metric) else "more"
    cells = [
        [
            *row.names,
            figure(row.found.difference if row.found else None),
            probability(row.found.p if row.found else None),
            probability(p),
            str(row.seeds) if row.seeds == row.of else f"{row.seeds} of {row.of}",
        ]
        for row, p in zip(rows, corrected, strict=True)
    ]
    columns = [*header, f"difference in meta-test {metric}", "p", "p (Holm)", "seeds"]
    return Table(title, columns, cells, None, len(header), f"{better} {metric} is better; {NOTE}")


def against(group: Group, wanted: Sequence[Condition]) -> list[Table]:
    """Each configuration against the reference that meets all conditions, a table for each metric.

    Where several meet them, that which agrees with a configuration in the most other keys. Empty where none of the
    group does, or where there is nothing else.

    Raises:
        UserError: several references agree equally.
    """
    met = references(group, wanted)
    others = [one for one in group.configurations if not any(one is reference for reference in met)]
    if not met or not others:
        return []
    told = " ".join(f"{group.names.get(key, key)}={value}" for key, value in wanted)
    found = []
    for metric in group.metrics:
        rows = [_row(group, one, _nearest(group, one, met, told), metric) for one in others]
        header = [group.names[key] for key in group.keys]
        found.append(table(group, f"against {told} · {group.title}", header, rows, metric))
    return found


def conditions(groups: Sequence[Group], typed: Sequence[str]) -> list[Condition]:
    """``KEY=VALUE`` conditions with the full names of their keys.

    Raises:
        UserError: a condition of another form, a key that no run has, or conditions that no configuration meets.
    """
    names = dict.fromkeys(key for group in groups for one in group.configurations for key in one.first.settings)
    found = []
    for text in typed:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise UserError(f"--against {text}: KEY=VALUE is expected, as in hypernet=none")
        found.append((keys.meant(key, names, f"--against {text}"), value))
    if found and not any(references(group, found) for group in groups):
        raise UserError(f"--against {' '.join(typed)}: no finished run has these settings")
    return found


def references(group: Group, wanted: Sequence[Condition]) -> list[Configuration]:
    """The configurations of a group that meet all conditions; none where there is no condition."""

    def meets(one: Configuration) -> bool:
        settings = one.first.settings
        return all(key in settings and keys.is_value(settings[key], value) for key, value in wanted)

    return [one for one in group.configurations if wanted and meets(one)]


def _nearest(group: Group, one: Configuration, met: Sequence[Configuration], told: str) -> Configuration:
    def agreeing(other: Configuration) -> int:
        return sum(keys.of(one.first, key) == keys.of(other.first, key) for key in group.keys)

    most = max(map(agreeing, met))
    nearest = [other for other in met if agreeing(other) == most]
    if len(nearest) > 1:
        several = " and ".join(f"'{group.label(reference)}'" for reference in nearest[:2])
        raise UserError(
            f"--against {told}: {several} are both as near to '{group.label(one)}'; "
            "name one reference with a further --against KEY=VALUE"
        )
    return nearest[0]


def _row(group: Group, one: Configuration, reference: Configuration, metric: str) -> Contrast:
    found = contrast([(one, reference)], metric)
    seeds = one.seeds + one.missing
    return Contrast([keys.told(one.first, key) for key in group.keys], found, found.seeds if found else 0, seeds)


def _by_seed(one: Configuration, metric: str) -> dict[str, Run]:
    """The runs that have a figure, by seed."""
    return {keys.fingerprint(run.seed): run for run in one.runs if run.figure("meta_test", metric) is not None}


def _by_episode(runs: Sequence[Sequence[tuple[Run, Run]]], metric: str) -> list[Measured] | None:
    """The differences of each seed's episodes; ``None`` where those of a run are unknown, or others."""
    everywhere = shared([run for mine in runs for pair in mine for run in pair])
    found = []
    for seed, mine in enumerate(runs):
        if not shared([run for pair in mine for run in pair]):
            return None
        try:
            both = [tuple(episodes(run) for run in pair) for pair in mine]
        except Unreadable:
            return None
        values = [tuple(each.values.get(metric, ()) for each in pair) for pair in both]
        every = [value for pair in values for value in pair]
        count = len(every[0])
        if not count or not all(len(one) == count and all(abs(value) < HUGE for value in one) for one in every):
            return None
        differences = [sum(a[n] - b[n] for a, b in values) / len(values) for n in range(count)]
        first = both[0][0]
        tasks = first.tasks if everywhere or first.named_tasks else [(seed, task) for task in first.tasks]
        found.append(Measured(differences, tasks))
    return found


def _mean(runs: Sequence[tuple[Run, Run]], metric: str, seed: int) -> Measured:
    """A seed's mean difference, as its only value."""
    figures = [[run.figure("meta_test", metric) for run in pair] for pair in runs]
    total = sum(a.mean - b.mean for a, b in figures if a is not None and b is not None)
    return Measured([total / len(figures)], [(seed, NOTHING)])
