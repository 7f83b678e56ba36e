"""Compositions of options at sizes at which a meta-update takes milliseconds, and what a run makes of one.

A choice is what somebody types, as in ``("dataset=table", "dataset.kind=classification")``. An option's YAML files are
composed by Hydra once and then joined, since a whole composition takes longer than the meta-updates.
"""

from collections.abc import Iterable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from builders import CPU
from omegaconf import OmegaConf
from torch import Tensor
from torch.func import vmap

from metarun.algorithms.base import Draws, Learned
from metarun.algorithms.reptile import Reptile
from metarun.config.auto_defaults import resolve_auto
from metarun.config.compose import compose
from metarun.config.groups import GROUPS
from metarun.core.tasks import Task
from metarun.datasets.base import Dataset
from metarun.engine.evaluation import EvaluationResult
from metarun.engine.meta_gradient import MetaGradient
from metarun.engine.planning import Planner
from metarun.engine.processes.single import SINGLE_PROCESS
from metarun.learner.learner import Learner, MetaParameters, remember
from metarun.setup import assemble
from metarun.setup.check import check
from metarun.setup.settings import Settings
from metarun.training.initial_state import first_state
from metarun.training.loop import Training
from metarun.training.outer_optimizer import OuterOptimizer
from metarun.training.progress import Silence
from metarun.training.stopping import StopRequest

CONF = Path(__file__).parents[2] / "conf"
STEPS = 2
MISSING = object()

Choice = tuple[str, ...]

SMALL: dict[str, Any] = {
    **{"dataset.ways": 3, "dataset.shots": 2, "dataset.queries": 3, "dataset.train_queries": 3, "dataset.size": 8},
    **{"model.channels": 4, "model.layers": 2, "model.hidden": [6, 6]},
    **{"embedding.size": 4, "embedding.hidden": 8, "embedding.fit_steps": 2, "embedding.head_steps": 2},
    **{"hypernet.hidden": [6], "hypernet.chunk": 20, "hypernet.chunk_embedding": 3, "hypernet.rank": 2},
    **{"algorithm.inner_steps": 2, "algorithm.solver_steps": 3, "algorithm.context_steps": 2},
    **{"algorithm.encoder": [6, 6], "algorithm.decoder": [6], "algorithm.width": 8, "algorithm.layers": 1},
    **{"algorithm.outer.tasks.pool": 2, "regularizer.remember": 2},
    **{
        "engine.task_chunk": 4,
        "engine.steps": STEPS,
        "engine.meta_batch_size": 3,
        "engine.val_every": STEPS,
        "engine.val_episodes": 4,
    },
    **{"device.compile": False, "device.threads": 1, "device.name": "cpu"},
}
"""Keys that are small in every composition that has them, unless they are typed."""


def options(group: str) -> list[str]:
    """The options of a config group."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@cache
def _composed(group: str, option: str) -> dict[str, Any]:
    node = compose([f"{group}={option}"])[group]
    found = OmegaConf.to_container(node, resolve=False)
    assert isinstance(found, dict)
    return {str(name): value for name, value in found.items()}


@cache
def _default() -> dict[str, Any]:
    config = compose([])
    found = OmegaConf.to_container(config, resolve=False, throw_on_missing=False)
    assert isinstance(found, dict)
    nodes = {str(name): node for name, node in found.items() if name not in ("hydra", "sweep")}
    choices = {name: option for name, option in config.hydra.runtime.choices.items() if name in nodes}
    return {**nodes, "choices": choices}


def small_keys(overrides: Iterable[str]) -> dict[str, Any]:
    """Those of `SMALL` that the composition has and that are not typed."""
    typed = {text.partition("=")[0] for text in overrides}
    plain = composed(overrides).plain

    def there(key: str) -> bool:
        node: Any = plain
        for part in key.split("."):
            node = node.get(part) if isinstance(node, dict) and part in node else MISSING
        return node is not MISSING

    return {key: value for key, value in SMALL.items() if key not in typed and there(key)}


def composed(overrides: Iterable[str]) -> Settings:
    """What ``metarun *overrides`` would run, but for the sizes. Raises `UserError`."""
    overrides = list(overrides)
    plain = deepcopy(_default())
    typed = dict(text.split("=", 1) for text in overrides)
    for group, option in typed.items():
        if group in GROUPS:
            plain[group] = deepcopy(_composed(group, option))
            plain["choices"][group] = option
    keys = {key: yaml.safe_load(value) for key, value in typed.items() if key not in GROUPS}
    for key, value in {**SMALL, **keys}.items():
        *path, name = key.split(".")
        node: Any = plain
        for part in path:
            node = node.get(part, {})
        if name in node:
            node[name] = value
        elif key in keys:
            compose(overrides)
            raise AssertionError(f"{key}: composed, although there is no such key")
    resolve_auto(plain, plain["choices"])
    return check(plain)


class Ran(NamedTuple):
    """What two meta-updates and a validation left."""

    settings: Settings
    dataset: Dataset
    learner: Learner
    first: MetaParameters
    last: MetaParameters
    metrics: list[dict[str, Tensor]]
    episodes: list[EvaluationResult]


class _Watched(Silence):
    """Keeps what training tells."""

    def __init__(self) -> None:
        self.metrics: list[dict[str, Tensor]] = []
        self.episodes: list[EvaluationResult] = []

    def step(self, step: int, metrics: dict[str, Tensor], lr: float, norm: Tensor, speed: float | None) -> None:  # type: ignore[override]
        self.metrics.append(metrics | {"gradient_norm": norm})

    def validated(self, step: int, episodes: EvaluationResult, metric: str, best: bool) -> None:  # type: ignore[override]
        self.episodes.append(episodes)


_DATASETS: dict[str, Dataset] = {}


def loaded(settings: Settings) -> Dataset:
    """The dataset of the settings, loaded once."""
    facts = (settings.plain["dataset"], settings.seed, settings.engine.episode_seed, str(settings.device.dtype))
    name = repr(facts)
    if name not in _DATASETS:
        _DATASETS[name] = settings.load_dataset(CPU)
    return _DATASETS[name]


def ran(overrides: Iterable[str], folder: Path) -> Ran:
    """Two meta-updates and a validation of what ``metarun *overrides`` would run. Raises `UserError`."""
    return trained(composed(overrides), folder)


def trained(settings: Settings, folder: Path) -> Ran:
    """The meta-updates and validations that the settings ask for. Raises `UserError`."""
    device = settings.device.resolve()
    dataset = loaded(settings)
    learner, phi = assemble.compose(settings, dataset, device)
    first = {group: {name: tensor.clone() for name, tensor in tensors.items()} for group, tensors in phi.items()}
    state = first_state(settings, dataset, folder, phi, device, SINGLE_PROCESS)
    group = 0 if settings.engine.order == "sequential" else None
    planner = Planner(learner, dataset, settings.engine, "false", state.decisions, SINGLE_PROCESS, group)
    log = _Watched()
    Training(
        learner=learner,
        dataset=dataset,
        settings=settings.engine,
        config=settings.plain,
        folder=folder,
        log=log,
        monitor=None,
        state=state,
        planner=planner,
        evaluator=planner.evaluator(state.phi),
        processes=SINGLE_PROCESS,
        lr_scales={"hypernet": getattr(settings.hypernet, "lr_scale", 1.0)},
    ).run(StopRequest())
    return Ran(settings, dataset, learner, first, state.phi, log.metrics, log.episodes)


def falls(run: Ran) -> bool:
    """Whether meta-updates on one batch, from the first φ, lower what the outer loop minimizes there.

    Most do with the first. First-order directions need not, and some of those take longer.
    """
    return any(_updates_until_lower(run, scale) is not None for scale in (1.0, 0.1))


def _updates_until_lower(run: Ran, scale: float, most: int = 30) -> int | None:
    learner, engine = run.learner, run.settings.engine
    algorithm = learner.algorithm
    assert isinstance(algorithm, Learned)
    phi = {group: {name: tensor.clone() for name, tensor in tensors.items()} for group, tensors in run.first.items()}
    group = 0 if engine.order == "sequential" else None
    batch = run.dataset.sample("train", 0, engine.meta_batch_size, group)
    draws = learner.draws(batch, testing=False, progress=0.0)

    def minimized(phi: MetaParameters, task: Task, draws: Draws) -> Tensor:
        objective, metrics = learner.objective(phi, task, draws)
        if not isinstance(algorithm, Reptile):
            return objective
        # Its queries play no part in learning: the start moves to where the inner loop goes, down the support loss.
        queries = metrics["loss"] if "loss" in metrics else metrics["mse"]
        start = learner.start(phi, task, testing=False)
        return objective - queries + learner.unadapted_loss(phi, start, task, learning=True)

    def value() -> float:
        with torch.no_grad():
            return float(vmap(minimized, in_dims=(None, 0, 0))(phi, batch, draws).mean())

    scales = {"hypernet": getattr(run.settings.hypernet, "lr_scale", 1.0)}
    optimizer = OuterOptimizer(algorithm.outer, phi, engine.gradient_clip, scales)
    gradient, first = MetaGradient(learner, None, compiled=False), value()
    for number in range(1, most + 1):
        found, _ = gradient(phi, batch, 0.0)
        optimizer.step(found, scale * algorithm.outer.lr)
        remember(phi, found, optimizer.frozen)
        algorithm.clamp(phi["algorithm"])
        if value() < first:
            return number
    return None
