"""The effect of each factor of an ablation: what a setting changes, with everything else as it is."""

from collections.abc import Sequence

from metarun.config.groups import PARTS
from metarun.report import keys
from metarun.report.contrasts import Contrast, Pair, contrast, table
from metarun.report.grouping import Configuration, Group, ordered
from metarun.report.table import Table
from metarun.report.text import NOTHING

MOST_VALUES = 6
"""A factor with more values is no ablation's but a search's."""

Factor = tuple[str, ...]
"""One key, or several that are not varied independently, such as a hypernetwork and its embedding."""
Value = tuple[str, ...]


def effects(group: Group, references: Sequence[Configuration] = ()) -> list[Table]:
    """The effects of a group's factors at meta-test, a table for each metric; empty where fewer than two keys vary.

    A row is the mean difference between a factor's value and its first one, over all pairs of configurations that
    agree in every other key, paired by seed and episode. The first value is that of the ``references``, else ``none``
    where there is one, else the smallest.
    """
    if len(group.keys) < 2:
        return []
    compared = [
        (factor, value, first, pairs)
        for factor in _factors(group)
        for value, first, pairs in _pairs(group, factor, references)
    ]
    if not compared:
        return []
    found = []
    for metric in group.metrics:
        rows = []
        for factor, value, first, pairs in compared:
            effect = contrast(pairs, metric)
            names = ["+".join(group.names[key] for key in factor), "+".join(value), "+".join(first), str(len(pairs))]
            of = max(one.seeds + one.missing for pair in pairs for one in pair)
            rows.append(Contrast(names, effect, effect.seeds if effect else 0, of))
        header = ["factor", "value", "instead of", "pairs"]
        found.append(table(group, f"effects · {group.title}", header, rows, metric))
    return found


def _factors(group: Group) -> list[Factor]:
    """The keys that vary; options of which not all combinations are there are one factor together."""
    sets: list[set[str]] = []
    for key in group.keys:
        linked = [one for one in sets if any(not _crossed(group, key, other) for other in one)]
        sets = [*(one for one in sets if one not in linked), {key}.union(*linked)]
    factors = [tuple(key for key in group.keys if key in one) for one in sets]
    # Other keys that are not crossed, as in a random search, have no effect that could be told from each other's.
    whole = [one for one in factors if len(one) == 1 or all(key in PARTS for key in one)]
    return sorted(whole, key=lambda one: group.keys.index(one[0]))


def _crossed(group: Group, one: str, other: str) -> bool:
    """Whether every value of the one key was run with every value of the other."""
    seen = {tuple(keys.of(each.first, key) for key in (one, other)) for each in group.configurations}
    return len(seen) == len({a for a, _ in seen}) * len({b for _, b in seen})


def _pairs(group: Group, factor: Factor, references: Sequence[Configuration]) -> list[tuple[Value, Value, list[Pair]]]:
    """For every value of a factor but the first: it, the first, and the pairs of configurations to compare."""
    members: dict[Value, dict[Value, Configuration]] = {}
    order: dict[Value, tuple[object, ...]] = {}
    told: dict[Value, Value] = {}
    for one in group.configurations:
        value = tuple(keys.of(one.first, key) for key in factor)
        rest = tuple(keys.of(one.first, key) for key in group.keys if key not in factor)
        members.setdefault(rest, {})[value] = one
        told[value] = tuple(keys.told(one.first, key) for key in factor)
        preferred = any(one is reference for reference in references)
        some = sum(text not in ("none", NOTHING) for text in told[value])
        place = (not preferred, some, tuple(ordered(one.first.settings.get(key)) for key in factor))
        order[value] = min(order.get(value, place), place)
    if len(order) > MOST_VALUES:
        return []
    first, *others = sorted(order, key=lambda value: order[value])
    found = []
    for value in others:
        pairs = [(mine[value], mine[first]) for mine in members.values() if value in mine and first in mine]
        if pairs:
            found.append((told[value], told[first], pairs))
    return found
