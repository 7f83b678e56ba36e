"""How a run computes: decided once by rules over configuration and machine, and kept in the run's state.

Decisions change rounding and nothing else. A resumed run keeps those of its beginning.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from metarun.algorithms.base import Learned
from metarun.datasets.base import Dataset
from metarun.engine import compilation
from metarun.engine.evaluation import EPISODES_AT_ONCE, Evaluator
from metarun.engine.footprint import fitting, surely_fits
from metarun.engine.meta_gradient import MetaGradient
from metarun.engine.processes import Processes, part
from metarun.engine.settings import EngineSettings
from metarun.free_memory import available
from metarun.learner import Learner, MetaParameters
from metarun.tasks import TaskBatch

log = logging.getLogger(__name__)

EVALUATION = ("episodes_at_once", "compile_evaluation")
"""Decisions about evaluation alone."""
BY_MEMORY = ("task_chunk", "episodes_at_once")
"""Decisions by what fits into the memory that a process has."""
LIKE_TEST = "train_eval"
"""The stream whose episodes have the shape of those that are measured; the test itself is looked at once, at last."""


@dataclass(frozen=True)
class Planner:
    """Makes what a run computes with.

    compile: ``auto``, ``true`` or ``false`` (`DeviceSettings`). decisions: of the run's state, which are added to.
    group: the group of tasks that the run begins with, or ``None``.
    """

    learner: Learner
    dataset: Dataset
    settings: EngineSettings
    compile: str
    decisions: dict[str, Any]
    processes: Processes
    group: int | None = None

    def meta_gradient(self, phi: MetaParameters) -> MetaGradient:
        """That of the run's meta-batches. ``compile`` and ``task_chunk`` are decided at the first call for a run."""
        share = self.processes.share(self.settings.meta_batch_size)
        eager = MetaGradient(self.learner, None, compiled=False)

        def computation(batch: TaskBatch) -> object:
            return eager(phi, batch)

        eager.chunk = self._at_once("task_chunk", computation, "train", share.stop - share.start)
        if "compile" in self.decisions:
            return MetaGradient(self.learner, eager.chunk, self.decisions["compile"])
        batch = self.dataset.sample("train", 0, self.settings.meta_batch_size, self.group)
        inner = self.learner.algorithm.steps(testing=False)
        if not self._wanted(lambda: compilation.pays(self.learner, batch, inner, self.settings.steps)):
            self.decisions["compile"] = False
            return eager
        chosen = compilation.compiled_if_equal(self.learner, eager, phi, part(batch, share))
        self.decisions["compile"] = not self.processes.any(chosen is eager)
        return chosen if self.decisions["compile"] else eager

    def evaluator(self, phi: MetaParameters) -> Evaluator:
        """That of validations and meta-test. ``episodes_at_once`` and ``compile_evaluation`` are decided likewise."""
        eager = Evaluator(self.learner, None, processes=self.processes)

        def computation(batch: TaskBatch) -> object:
            return eager.curves(phi, batch, whole=True)

        eager.chunk = self._at_once("episodes_at_once", computation, LIKE_TEST, EPISODES_AT_ONCE)
        if "compile_evaluation" not in self.decisions:
            batch = self.dataset.sample(LIKE_TEST, 0, eager.chunk)
            inner = self.learner.algorithm.steps(testing=True)
            chunks = self._episodes() // (eager.chunk * self.processes.count)
            wanted = self._wanted(lambda: compilation.pays(self.learner, batch, inner, chunks))
            equal = wanted and compilation.evaluates_alike(eager, phi, batch)
            self.decisions["compile_evaluation"] = wanted and not self.processes.any(not equal)
        compiled = self.decisions["compile_evaluation"]
        return Evaluator(self.learner, eager.chunk, compiled, self.processes) if compiled else eager

    def _wanted(self, pays: Callable[[], bool]) -> bool:
        return self.compile == "true" or (self.compile == "auto" and pays())

    def _episodes(self) -> int:
        """How many episodes the run measures."""
        settings = self.settings
        trains = isinstance(self.learner.algorithm, Learned)
        validations = settings.steps // settings.val_every if trains else 1
        return validations * settings.val_episodes + 2 * settings.test_episodes

    def _at_once(self, decision: str, computation: Callable[[TaskBatch], object], stream: str, wanted: int) -> int:
        """How many of ``wanted`` tasks of a stream to compute at once."""
        asked = self.settings.task_chunk
        if isinstance(asked, int):
            return min(asked, wanted)
        if decision not in self.decisions:
            # Processes take episodes in turn by chunks, which must be the same for all.
            self.decisions[decision] = int(self.processes.told(str(self._that_fit(computation, stream, wanted))))
            if self.decisions[decision] < wanted:
                log.info("%s of %s tasks at once, by an estimate of memory", self.decisions[decision], wanted)
        return min(int(self.decisions[decision]), wanted)

    def _that_fit(self, computation: Callable[[TaskBatch], object], stream: str, wanted: int) -> int:
        device = next(iter(self.learner.model.network.parameters())).device
        free = available(device)
        if free is not None:
            free //= self.processes.beside(device)
        if free is None or surely_fits(self.learner, self.dataset.sample(stream, 0, 1), wanted, free):
            return wanted
        try:
            return fitting(computation, lambda tasks: self.dataset.sample(stream, 0, tasks), wanted, free)
        except Exception as error:  # an operation that has no shape without contents; a user's, perhaps
            log.info("memory could not be estimated (%s)", str(error).partition("\n")[0])
            return wanted
