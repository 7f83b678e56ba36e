"""Meta-test by optimization: a meta-learner and other methods choose configurations on the meta-test tasks."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from metarun.core.columns import columns
from metarun.core.errors import Interrupted, UserError
from metarun.core.files import write_json
from metarun.datasets.base import Dataset, source_of
from metarun.datasets.configurations import Configurations
from metarun.hpo import records
from metarun.hpo.history import History
from metarun.hpo.methods.base import Method
from metarun.hpo.records import Record
from metarun.hpo.registry import ENSEMBLE, LEARNED, methods, needed, refuse_unknown
from metarun.hpo.scoring import Regrets, normalized_regret
from metarun.hpo.settings import HpoSettings
from metarun.hpo.simulation import simulate
from metarun.hpo.surrogates.base import Surrogate
from metarun.hpo.surrogates.ensemble import Ensemble
from metarun.inspection.figures.optimization import rank_figure, regret_figure
from metarun.learner.learner import Learner, MetaParameters
from metarun.runs import checkpoint as checkpoints
from metarun.runs.best_effort import BestEffort
from metarun.runs.files import OPTIMIZATION, RANK_FIGURE, REGRET_FIGURE, TRIAL_RECORDS, checkpoint_files
from metarun.runs.texts import plain_texts
from metarun.setup.assemble import assemble
from metarun.setup.reload import settings_of
from metarun.setup.settings import Settings
from metarun.training.experiment import Experiment
from metarun.training.learned_surrogate import LearnedSurrogate

log = logging.getLogger(__name__)


def refuse_unsuitable(settings: Settings, dataset: Dataset, learner: Learner, phi: MetaParameters) -> None:
    """Refuse, before training, what cannot be optimized. Raises `UserError`."""
    if not isinstance(dataset, Configurations):
        raise UserError(f"mode=optimize: needs dataset=configurations, not dataset={dataset.name}")
    if dataset.sides != "tasks":
        raise UserError("mode=optimize: needs dataset.split=tasks, whose meta-test tasks are new data sets")
    refuse_unknown(settings.hpo)
    if learner.problem.source != source_of(dataset):
        raise UserError(
            "mode=optimize: the checkpoint was trained on other data, or on another split of these; its training tasks "
            "could be among the tasks to optimize on"
        )
    surrogates(settings.hpo, dataset, learner, phi)


def optimize(one: Experiment, phi: MetaParameters) -> None:
    """Optimize on every meta-test task with every method and seed; write, show and print what came of it.

    Methods know the meta-train and meta-val tasks, and of a meta-test task its meta-features, which configurations can
    be tried, and the losses of those that they have tried.
    """
    dataset, settings = one.dataset, one.settings.hpo
    assert isinstance(dataset, Configurations)
    learned = surrogates(settings, dataset, one.learner, phi)
    found = _records(one, methods(settings, history(dataset), learned))
    regrets = records.regrets(found, settings.trials)
    records.write(one.folder / TRIAL_RECORDS, found)
    content = summary(regrets, settings, dataset)
    write_json(one.folder / OPTIMIZATION, content)
    _draw(one, regrets, dataset.metric)
    _tell(regrets, content, settings.report)


def history(dataset: Configurations) -> History:
    """The tasks that are known when a new one comes."""
    past = [*dataset.members("train"), *dataset.members("val")]
    return History(dataset.encoding, dataset.losses[past], dataset.scores.features[past])


def surrogates(
    settings: HpoSettings, dataset: Configurations, learner: Learner, phi: MetaParameters
) -> dict[str, Surrogate]:
    """The surrogates of those methods that are meta-learners."""
    names = needed(settings)
    if not names:
        return {}
    own = LearnedSurrogate(learner, phi, dataset, "hpo.methods=[learned]")
    found: dict[str, Surrogate] = {LEARNED: own} if LEARNED in names else {}
    if ENSEMBLE in names:
        others = [saved_surrogate(path, dataset, own.device, f"hpo.ensemble={path}") for path in settings.ensemble]
        found[ENSEMBLE] = Ensemble([own, *others])
    return found


def saved_surrogate(path: str, dataset: Configurations, device: torch.device, place: str) -> LearnedSurrogate:
    """The meta-learner of another run, trained on the same split. place: what messages call it."""
    try:
        file = checkpoint_files(path)[0]
    except UserError as error:
        raise UserError(f"{place}: {str(error).partition(': ')[2] or error}") from error
    content = checkpoints.read(file, device)
    if content.problem.source != source_of(dataset):
        raise UserError(f"{place}: was trained on other data, or on another split of these")
    learner, like = assemble(settings_of(content.config, file, str(device)), content.problem, device)
    checkpoints.fit(file, content.state, like)
    return LearnedSurrogate(learner, content.state.phi, dataset, place)


def _records(one: Experiment, chosen: dict[str, Method]) -> list[Record]:
    dataset, settings = one.dataset, one.settings.hpo
    assert isinstance(dataset, Configurations)
    tasks = dataset.members("test")
    found: list[Record] = []
    with tqdm(desc="optimization", total=len(chosen) * len(tasks) * settings.seeds, disable=None, leave=False) as bar:
        for name, method in chosen.items():
            for task in tasks:
                for seed in range(settings.seeds):
                    if one.stop.asked:
                        raise Interrupted(f"stopped during the optimization; go on with: {one.resume_command()}")
                    found += trial_records(name, method, dataset, task, settings.trials, seed)
                    bar.update()
    return found


def trial_records(
    name: str, method: Method, dataset: Configurations, task: int, trials: int, seed: int
) -> list[Record]:
    """The trials of one optimization by a method of that name. task: its number in the table."""
    table, losses = dataset.scores, dataset.losses[task]
    evaluated = ~np.isnan(losses) | table.failed[task]
    tried = simulate(method, losses, evaluated, table.features[task], trials, seed, table.tasks[task])
    curve = normalized_regret(losses, tried.tolist(), len(tried))
    return [
        Record(
            *(name, table.tasks[task], str(table.groups[task]), seed, trial),
            *(table.identifiers[place], float(losses[place]), float(regret)),
        )
        for trial, (place, regret) in enumerate(zip(tried, curve, strict=True), 1)
    ]


def summary(regrets: Regrets, settings: HpoSettings, dataset: Configurations) -> dict[str, Any]:
    """The content of ``optimization.json``."""
    first = next((name for name in (ENSEMBLE, LEARNED) if name in regrets.methods), regrets.methods[0])
    return {
        "metric": dataset.metric,
        "direction": dataset.scores.directions[dataset.metric],
        "tasks": regrets.values.shape[1],
        "groups": len(set(regrets.groups)),
        "seeds": settings.seeds,
        "trials": settings.trials,
        "configurations": len(dataset.encoding),
        "past_tasks": len(dataset.members("train")) + len(dataset.members("val")),
        "methods": regrets.summary(settings.report),
        "paired": {first: regrets.paired(first, settings.report)},
        "ranking": {str(trial): regrets.critical_difference(trial).plain() for trial in settings.report},
        "settings": {name: value for name, value in vars(settings).items() if name not in ("methods", "report")},
        "dataset": dataset.protocol(),
    }


def _draw(one: Experiment, regrets: Regrets, metric: str) -> None:
    """The pictures, as files and in TensorBoard, and the curves there; the step is the number of trials.

    What cannot be drawn is left out (`BestEffort`).
    """
    trial, optional = one.settings.hpo.report[-1], BestEffort()
    drawings: dict[str, Callable[[], Figure]] = {
        REGRET_FIGURE: lambda: regret_figure(regrets, metric),
        RANK_FIGURE: lambda: rank_figure(regrets.critical_difference(trial), trial),
    }
    for file, draw in drawings.items():
        with optional.attempt(file), plain_texts():
            draw().savefig(one.folder / file, dpi=150)
        if one.board is not None:
            one.board.figure(f"optimization/{Path(file).stem}", draw, trial)
    if one.board is None:
        return
    means, ranks = regrets.values.mean(1), regrets.ranks.mean(1)
    for place in range(regrets.values.shape[2]):
        for stage, values in (("optimization regret", means), ("optimization rank", ranks)):
            one.board.scalars(stage, dict(zip(regrets.methods, values[:, place].tolist(), strict=True)), place + 1)


def _tell(regrets: Regrets, content: dict[str, Any], report: Sequence[int]) -> None:
    """The table, best after the last reported trial first."""
    for line in table(regrets, content, report):
        log.info(line)


def table(regrets: Regrets, content: dict[str, Any], report: Sequence[int]) -> list[str]:
    """Regrets and ranks as lines of text."""
    methods, last = content["methods"], str(report[-1])
    order = sorted(regrets.methods, key=lambda name: methods[name][last]["regret"]["mean"])
    rows = [["method", *(f"regret@{trial}" for trial in report), *(f"rank@{trial}" for trial in report)]]
    for name in order:
        told = [methods[name][str(trial)] for trial in report]
        rows.append([name, *map(_regret, told), *(f"{each['rank']['mean']:.2f}" for each in told)])
    head = (
        f"optimization of {content['metric']} on {content['tasks']} meta-test tasks, {content['past_tasks']} past "
        f"tasks, {content['configurations']:,} configurations, {content['seeds']} seeds: normalized regret ± 95 %"
    )
    return [head, *columns(rows, range(1, len(rows[0]))).splitlines()]


def _regret(told: dict[str, Any]) -> str:
    half = told["regret"]["ci95"]
    return f"{told['regret']['mean']:.4f}" + ("" if half is None else f" ± {half:.4f}")
