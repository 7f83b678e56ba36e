"""A trained meta-learner as Python sees it: adapt it to one's own examples, and measure it."""

import json
import threading
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from metarun.adapted_model import AdaptedModel
from metarun.core.errors import UserError
from metarun.core.kinds import TaskKind
from metarun.core.tasks import Examples, Task, TaskBatch
from metarun.engine.evaluation import EPISODES_AT_ONCE, half_width, task_numbers
from metarun.engine.over_tasks import over_tasks
from metarun.given_tasks import GivenTasks, Pair, batched, in_batches, refuse_both
from metarun.learner.learner import Learner, MetaParameters
from metarun.runs import checkpoint as checkpoints
from metarun.runs.files import BEST, LAST, RESULT, SUFFIX, only_old
from metarun.setup.assemble import assemble
from metarun.setup.reload import settings_of
from metarun.setup.settings import Settings
from metarun.training.best_steps import with_test_steps


def load(
    run: str | Path,
    *,
    checkpoint: str | Path = "best",
    device: str | torch.device = "cpu",
    config_dir: str | Path | None = None,
) -> "MetaLearner":
    """See `metarun.load`."""
    file = _file(Path(run), checkpoint)
    content = checkpoints.read(file, torch.device("cpu"))
    settings = settings_of(content.config, file, str(device), None if config_dir is None else str(config_dir))
    place = settings.device.resolve()
    if settings.algorithm.max_tried_steps is not None:
        settings = _as_tested(settings, file)
    learner, phi = assemble(settings, content.problem, place)
    checkpoints.fit(file, content.state, phi)
    return MetaLearner(settings, learner, tree_map(lambda tensor: tensor.to(place), content.state.phi))


def _as_tested(settings: Settings, file: Path) -> Settings:
    """With the number of inner steps that the run of a checkpoint chose on meta-val; as trained if it has not yet."""
    result = file.parent.parent / RESULT
    if not result.is_file():
        return settings
    steps = json.loads(result.read_text(encoding="utf-8")).get("test_steps", {}).get("chosen")
    if type(steps) is not int:
        return settings
    return replace(settings, algorithm=with_test_steps(settings.algorithm, steps))


def _file(run: Path, checkpoint: str | Path) -> Path:
    if run.is_file():
        return run
    if not run.is_dir():
        raise UserError(f"{run}: no such folder")
    names = {"best": BEST, "last": LAST}
    if checkpoint not in names:
        if not Path(checkpoint).is_file():
            raise UserError(f"checkpoint={checkpoint}: no such file; give best, last or a {SUFFIX} file")
        return Path(checkpoint)
    found = [name for name, file in names.items() if (run / file).is_file()]
    if checkpoint not in found:
        if only_old(run):
            raise UserError(f"{run}: its checkpoints are from an older version of metarun; train again")
        hint = f"; give checkpoint='{found[0]}'" if found else ": not a run's folder, or nothing was saved yet"
        raise UserError(f"{run}: has no {names[str(checkpoint)]}{hint}")
    return run / names[str(checkpoint)]


class MetaLearner:
    """A meta-learner as a run left it; `metarun.load` makes it.

    Nothing here changes it: adapting makes a model for the task. Calls from several threads take turns.
    """

    def __init__(self, settings: Settings, learner: Learner, phi: MetaParameters) -> None:
        self.settings = settings
        """The run's settings, checked and typed."""
        self._learner, self._phi, self._lock = learner, phi, threading.RLock()
        self._device = next(learner.model.network.parameters()).device
        self._given = GivenTasks(learner.problem, settings.embedding.knows_tasks, settings.device.dtype, self._device)

    @property
    def kind(self) -> TaskKind:
        """What its tasks are: `metarun.core.kinds.Classification` or `metarun.core.kinds.Regression`."""
        return self._learner.problem.kind

    @property
    def input_shape(self) -> tuple[int, ...] | dict[str, tuple[int, ...]]:
        """Shape of one input x; of named inputs, by name."""
        return self._learner.problem.inputs.shape

    @property
    def phi(self) -> MetaParameters:
        """A copy of φ, in groups: ``theta`` (θ₀), ``embedding``, ``hypernet``, ``algorithm``, ``memory``."""
        copy: MetaParameters = tree_map(torch.clone, self._phi)
        return copy

    def adapt(
        self,
        x: Any,
        y: Any = None,
        *,
        steps: int | None = None,
        descriptor: Any = None,
        identity: int | None = None,
    ) -> AdaptedModel:
        """Adapt to a support set: ``adapt(x, y)``, or ``adapt(task)`` for a `metarun.core.tasks.Task`.

        x, y: see `metarun.given_tasks.Pair`. steps: inner steps; ``None``: as many as the run tests with. descriptor:
        what the dataset would say of the task, ``[features]``. identity: which of the known training tasks it is, where
        it is one.

        Raises `UserError` for what does not fit this meta-learner, and where the inner loop diverges.
        """
        if isinstance(x, Task):
            refuse_both(y=y, descriptor=descriptor, identity=identity)
            tasks = self._given.taken(batched([x]))
        else:
            support = self._given.examples((x, y), ("x", "y"))
            tasks = self._task(support, support.rows(slice(0)), descriptor, identity)
        learner = self._with_steps(steps)
        task: Task = tree_map(lambda tensor: tensor[0], tasks)
        with self._lock, torch.no_grad():
            draws = {name: each[0] for name, each in learner.draws(tasks, testing=True, progress=1.0).items()}
            model, state = learner.adapted(self._phi, task, draws)
        if not all(tensor.isfinite().all() for tensor in state.theta.values()):
            raise UserError("adapting to these examples diverged: θ' is not finite; scale them as in training")
        return AdaptedModel(replace(learner, model=model), self._phi["algorithm"], state, task.support, self._lock)

    def evaluate(
        self,
        tasks: Task | Sequence[Task] | None = None,
        *,
        support: Pair | None = None,
        query: Pair | None = None,
        steps: int | None = None,
        descriptor: Any = None,
        identity: int | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Adapt to a support set and measure on a query set: ``evaluate(support=(x, y), query=(x, y))``.

        Or ``evaluate(task)``, or several: a list of tasks, or a batch as `Dataset.sample` gives it. The answer has an
        entry for each metric: ``before`` and ``after`` adaptation, and ``curve``, the points before and after each
        inner step. Of several tasks these are means, and there are ``ci95``, the half-width of the 95 % interval of
        ``after`` over the tasks (visits to one task of a dataset count as one: `Task.source`; NaN for a single task),
        and ``each_before`` and ``each_after``, the values of every task.

        Of a run's meta-test tasks in one batch these are the figures of its ``episodes.csv``, to the last bit on the
        same device with the same number of threads. Raises `UserError` as `adapt`, but not where the loop diverges.
        """
        if tasks is None:
            if support is None or query is None:
                raise UserError("evaluate: give a task, several tasks, or support=(x, y) and query=(x, y)")
            learned = self._given.examples(support, ("support x", "support y"))
            query_examples = self._given.examples(query, ("query x", "query y"))
            batches, alone = [self._task(learned, query_examples, descriptor, identity)], True
        else:
            refuse_both(support=support, query=query, descriptor=descriptor, identity=identity)
            alone = isinstance(tasks, Task) and not tasks.number.dim()
            batches = [self._given.taken(each) for each in in_batches(tasks)]
        learner = self._with_steps(steps)
        with self._lock, torch.no_grad():
            parts = [part for each in batches for part in self._curves(learner, each)]
        visits = None if alone else task_numbers(torch.cat([each.source for each in batches]))
        return {name: _told(torch.cat([part[name] for part in parts]), visits) for name in parts[0]}

    def _curves(self, learner: Learner, tasks: TaskBatch) -> list[dict[str, Tensor]]:
        """Adaptation curves ``[tasks, steps + 1]`` by metric, in pieces, float64 on CPU."""
        curve = over_tasks(learner.curve)
        count = len(tasks.number)
        asked = self.settings.engine.task_chunk
        size = min(asked if isinstance(asked, int) else EPISODES_AT_ONCE, count)
        parts = []
        for first in range(0, count, size):
            # As many at once as in a run, also the last time, since rounding may depend on it.
            places = torch.arange(first, first + size, device=self._device) % count
            some: TaskBatch = tree_map(lambda tensor, places=places: tensor[places], tasks)
            draws = learner.draws(some, testing=True, progress=1.0)
            metrics = curve(self._phi, some, draws).metrics
            parts.append({name: values[: count - first].double().cpu() for name, values in metrics.items()})
        return parts

    def _task(self, support: Examples, query: Examples, descriptor: Any, identity: int | None) -> TaskBatch:
        """A batch of one task made of a user's examples."""
        tasks = self._given.task(support, query, descriptor, identity)
        if descriptor is None:
            self._refuse_undescribed(tasks)
        return tasks

    def _refuse_undescribed(self, tasks: TaskBatch) -> None:
        with self._lock, torch.no_grad():
            seen: Tensor = self._learner.embed(self._phi, tree_map(lambda tensor: tensor[0], tasks), testing=True)
        if not seen.isfinite().all():
            size = self._learner.problem.descriptor_size
            raise UserError(f"this run's task embedding is made from a descriptor: give descriptor=, {size} numbers")

    def _with_steps(self, steps: int | None) -> Learner:
        """The learner, with another number of inner steps where one is given."""
        if steps is None:
            return self._learner
        algorithm = self._learner.algorithm
        names = {field.name for field in fields(algorithm)}
        name = next((name for name in ("test_steps", "inner_steps") if name in names), None)
        if name is None:
            option = self.settings.plain["choices"]["algorithm"]
            raise UserError(f"steps={steps}: algorithm={option} has no inner steps; leave it out")
        if type(steps) is not int or steps < 0:
            raise UserError(f"steps={steps}: an integer of at least 0 is expected")
        return replace(self._learner, algorithm=replace(algorithm, **{name: steps}))


def _told(curve: Tensor, tasks: Sequence[int] | None) -> dict[str, Any]:
    """A metric's curve ``[tasks, steps + 1]`` in plain numbers. ``tasks``: which each is; ``None``: one alone."""
    means = curve.mean(0).tolist()
    told: dict[str, Any] = {"before": means[0], "after": means[-1], "curve": means}
    if tasks is not None:
        after = curve[:, -1]
        told |= {"ci95": half_width(after, tasks), "each_before": curve[:, 0].tolist(), "each_after": after.tolist()}
    return told
