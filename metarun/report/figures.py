"""The pictures of a report: which there are, and files of them."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from metarun.report.curve_figures import adaptation, chosen, learning
from metarun.report.events import curves
from metarun.report.grouping import Group
from metarun.report.hyperparameter_figures import hyperparameters, parallel
from metarun.runs.texts import plain_texts


def figures(group: Group) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """Names of the pictures that a group has, and what draws each."""
    metric = group.metrics[0]
    told = chosen(group)
    # What is logged on meta-val is of the run's own data.
    logged = {id(one): [{} if run.further else curves(run.folder) for run in one.runs] for one in told}
    if any(f"meta-val/{metric}" in one for seeds in logged.values() for one in seeds):
        yield "learning", lambda: learning(group, metric, told, logged)
    if any(len(one.adaptation(metric)) > 1 for one in told):
        yield "adaptation", lambda: adaptation(group, metric, told)
    if group.keys:
        yield "hyperparameters", lambda: hyperparameters(group, metric)
    if len(group.keys) > 1:
        yield "parallel", lambda: parallel(group, metric)


def save(figure: Figure, target: Any, kind: str) -> None:
    """Write a figure as ``png`` or ``svg``, the same bytes every time."""
    metadata = {"Date": None} if kind == "svg" else {}
    figure.savefig(target, format=kind, dpi=150, metadata=metadata)


def file_name(number: int, group: Group, name: str, kind: str) -> str:
    """A picture's file, whose name holds nothing but letters, digits and dashes."""
    words = re.findall("[a-z0-9]+", group.title.partition(" · ")[0].lower())
    return "-".join([str(number), *words])[:48] + f"-{name}.{kind}"


def draw(groups: Sequence[Group]) -> Iterator[tuple[int, Group, str, Figure]]:
    """Every picture of every group; groups count from 1."""
    for number, group in enumerate(groups, 1):
        for name, drawn in figures(group):
            yield number, group, name, drawn()


def write(groups: Sequence[Group], folder: Path, kind: str) -> list[Path]:
    """Save all pictures below ``folder``, which is made if need be; returns the files."""
    files = []
    with plain_texts():
        folder.mkdir(parents=True, exist_ok=True)
        for number, group, name, figure in draw(groups):
            file = folder / file_name(number, group, name, kind)
            save(figure, file, kind)
            files.append(file)
    return files
