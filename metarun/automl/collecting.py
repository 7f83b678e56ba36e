"""Training base models on tasks, cell by cell, to a table of scores in metarun's own format."""

import json
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import Timeout
from tqdm import tqdm

from metarun.automl.cell_log import NAME, Cell, CellLog
from metarun.automl.cross_validation import METRICS, cross_validated, import_scikit_learn, subsample
from metarun.automl.limited import OK, Outcome, limited
from metarun.automl.meta_features import meta_features
from metarun.automl.models import chosen, refuse_without_scikit_learn
from metarun.automl.spaces import Pool, pool
from metarun.automl.tabular import Tabular
from metarun.automl.task_sources import TaskSource, bundled, refuse_repeated, synthetic_tasks, tables
from metarun.core.errors import UserError
from metarun.core.files import write_json
from metarun.core.lock import held
from metarun.datasets.score_tables import tidy
from metarun.datasets.score_tables.space import Values
from metarun.datasets.score_tables.table import ScoreTable, grouped
from metarun.hpo.collect_settings import CollectSettings

PROTOCOL = "collection.json"
"""What must be the same when a collection is continued."""


def collect(settings: CollectSettings, seed: int) -> ScoreTable:
    """Evaluate what the folder does not have yet, and write the table of everything asked for.

    The folder gets a log, `metarun.automl.cell_log`, and the files of `metarun.datasets.score_tables.tidy`. Raises
    `UserError` for settings and files that cannot be used, before anything is trained.
    """
    if settings.path is None:
        raise UserError("collect.path: no folder given; write collect.path=FOLDER")
    refuse_without_scikit_learn()
    configurations = pool(chosen(settings.models, settings.kind, "collect.models"), settings.configurations)
    sources = [*_sources(settings, seed)]
    refuse_repeated(sources)
    if not sources:
        raise UserError("collect: no data sets; give collect.bundled=true, collect.synthetic=N or collect.tables=[…]")
    for source in tables(settings.kind, settings.tables):
        source.build()  # refuses files that cannot be read
    folder = Path(settings.path).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder, wait=False):
            _keep_protocol(folder, settings, seed)
            with CellLog(folder) as log:
                _evaluate(log, sources, configurations, settings, seed)
                table = _table(log, sources, configurations, settings, seed)
            tidy.write(folder, table)
    except Timeout as error:
        raise UserError(f"{folder}: in use by another process; wait for it, or stop it") from error
    except OSError as error:
        raise UserError(f"collect.path={settings.path}: cannot be written: {error.strerror or error}") from error
    return table


def _sources(settings: CollectSettings, seed: int) -> Iterator[TaskSource]:
    if settings.bundled:
        yield from bundled(settings.kind, settings.variants, seed, settings.exclude)
    elif settings.exclude:
        raise UserError("collect.exclude: only with collect.bundled=true")
    yield from synthetic_tasks(settings.kind, settings.synthetic, seed)
    yield from tables(settings.kind, settings.tables)


def _keep_protocol(folder: Path, settings: CollectSettings, seed: int) -> None:
    """Write how cells are evaluated, or refuse to continue a table that was collected in another way."""
    own = {"kind": settings.kind, "rows": settings.rows, "folds": settings.folds, "seconds": settings.seconds}
    asked = {f"collect.{name}": value for name, value in own.items()} | {"seed": seed}
    file = folder / PROTOCOL
    if not file.is_file():
        if tidy.is_tidy(folder) or (folder / NAME).exists():
            raise UserError(f"collect.path={settings.path}: has a table from elsewhere; choose another folder")
        write_json(file, asked)
        return
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        differing = [name for name in asked if known[name] != asked[name]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{file}: cannot be read as a collection's settings; choose another folder") from error
    if differing:
        name = differing[0]
        raise UserError(
            f"{name}={asked[name]}: the table in {settings.path} was collected with {name}={known[name]}; choose "
            "another folder for others"
        )


def _evaluate(log: CellLog, sources: Sequence[TaskSource], every: Pool, settings: CollectSettings, seed: int) -> None:
    from joblib import Parallel, cpu_count, delayed

    missing = [
        (source, identifier, values)
        for source in sources
        for identifier, values in zip(every.identifiers, every.configurations, strict=True)
        if (source.name, identifier) not in log.cells
    ]
    if not missing:
        return
    workers = Parallel(settings.jobs or cpu_count(), return_as="generator_unordered")
    calls = (
        delayed(cell)(os.getpid(), *each, settings.rows, settings.folds, settings.seconds, seed) for each in missing
    )
    total = len(sources) * len(every.identifiers)
    with tqdm(desc="collect", total=total, initial=total - len(missing), disable=None, unit="cell") as bar:
        for done in workers(calls):
            log.append(done)
            bar.update()


@lru_cache(maxsize=2)
def data_of(source: TaskSource, rows: int, seed: int) -> Tabular:
    """A task's data, reduced to at most this many rows. The cells of a task follow each other."""
    return subsample(source.build(), rows, seed)


def cell(
    owner: int, source: TaskSource, identifier: str, values: Values, rows: int, folds: int, seconds: float, seed: int
) -> Cell:
    """Evaluate one configuration on one task, in a process of its own. owner: the process that collects."""
    if owner not in (os.getpid(), os.getppid()):
        os._exit(1)  # it was killed, so that nobody waits for this worker
    # What the new process has from the start, it neither makes nor imports again.
    data = data_of(source, rows, seed)
    import_scikit_learn()
    return as_cell(source.name, identifier, limited(seconds, _cross_validated, data, values, folds, seed))


def _cross_validated(data: Tabular, values: Values, folds: int, seed: int) -> dict[str, Any]:
    found = cross_validated(data, values, folds, seed)
    return {"scores": dict(found.scores), "seconds": round(found.seconds, 4), "cpu": round(found.cpu, 4)}


def as_cell(task: str, identifier: str, outcome: Outcome) -> Cell:
    """A cell of what came of its evaluation; scores have six decimals."""
    if outcome.status != OK:
        return Cell(task, identifier, outcome.status, {}, None, None, outcome.error)
    scores = {name: float(f"{value:.6g}") for name, value in outcome.value["scores"].items()}
    return Cell(task, identifier, OK, scores, outcome.value["seconds"], outcome.value["cpu"], "")


def _table(
    log: CellLog, sources: Sequence[TaskSource], every: Pool, settings: CollectSettings, seed: int
) -> ScoreTable:
    metrics, shape = METRICS[settings.kind], (len(sources), len(every.identifiers))
    scores = {name: np.full(shape, np.nan) for name in metrics}
    seconds, failed = np.full(shape, np.nan), np.zeros(shape, np.bool_)
    for row, source in enumerate(sources):
        for column, identifier in enumerate(every.identifiers):
            found = log.cells[source.name, identifier]
            failed[row, column] = found.status != OK
            if found.status == OK:
                seconds[row, column] = found.seconds
                for name in metrics:
                    scores[name][row, column] = found.scores[name]
    features = [meta_features(data_of(source, settings.rows, seed), seed) for source in sources]
    return ScoreTable(
        str(settings.path),
        tuple(source.name for source in sources),
        every.identifiers,
        every.space,
        every.configurations,
        scores,
        metrics,
        seconds,
        failed,
        grouped([source.group for source in sources], scores),
        np.array([list(each.values()) for each in features]),
        tuple(features[0]),
    )
