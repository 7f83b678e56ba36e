"""How a run computes: decided once by rules over configuration and machine, and kept in the run's state.

Decisions change rounding and nothing else. A resumed run keeps those of its beginning.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from metarun.algorithms.base import Learned
from metarun.datasets.base import Dataset
from metarun.engine import compilation
from metarun.engine.displacement import displaced
from metarun.engine.evaluation import EPISODES_AT_ONCE, Evaluator
from metarun.engine.footprint import fitting, needed, surely_fits
from metarun.engine.meta_gradient import MetaGradient
from metarun.engine.processes import Processes, part
from metarun.engine.recording import agree
from metarun.engine.settings import EngineSettings
from metarun.free_memory import available
from metarun.learner import Learner, MetaParameters
from metarun.tasks import TaskBatch

log = logging.getLogger(__name__)

C = TypeVar("C")

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
    group: the group of tasks that the run begins with, or ``None``. record: whether computations are recorded as CUDA
    graphs, which changes no figure and so is no decision of the run's.
    """

    learner: Learner
    dataset: Dataset
    settings: EngineSettings
    compile: str
    decisions: dict[str, Any]
    processes: Processes
    group: int | None = None
    record: bool = False

    def meta_gradient(self, phi: MetaParameters) -> MetaGradient:
        """That of the run's meta-batches. ``compile`` and ``task_chunk`` are decided at the first call for a run."""
        eager = MetaGradient(self.learner, self.tasks_at_once(phi), compiled=False)
        if "compile" in self.decisions:
            return MetaGradient(self.learner, eager.chunk, self.decisions["compile"])
        if not self.wants_compiled():
            self.decisions["compile"] = False
            return eager
        batch, share = self._meta_batch(), self.processes.share(self.settings.meta_batch_size)
        chosen = compilation.compiled_if_equal(self.learner, eager, phi, part(batch, share))
        self.decisions["compile"] = not self.processes.any(chosen is eager)
        return chosen if self.decisions["compile"] else eager

    def recorded_meta_gradient(self, plain: MetaGradient, phi: MetaParameters) -> MetaGradient:
        """The same as a CUDA graph, where it can be recorded."""
        if not self.record:
            return plain
        share = self.processes.share(self.settings.meta_batch_size)

        def computed(meta_gradient: MetaGradient, phi: MetaParameters, index: int) -> MetaParameters:
            return meta_gradient(phi, part(self._meta_batch(index), share))[0]

        return self._recorded(plain, plain.recorded(), computed, phi)

    def annealed(self) -> bool:
        """Whether meta-training changes anything but φ while it goes on."""
        return compilation.annealed(self.learner, self._meta_batch())

    def evaluator(self, phi: MetaParameters) -> Evaluator:
        """That of validations and meta-test. ``episodes_at_once`` and ``compile_evaluation`` are decided likewise."""
        plain = self._launched_evaluator(phi)
        if not self.record:
            return plain

        def computed(evaluator: Evaluator, phi: MetaParameters, index: int) -> dict[str, Tensor]:
            return evaluator.curves(phi, self._sample(LIKE_TEST, plain.chunk, index), False).metrics

        return self._recorded(plain, plain.recorded(), computed, phi)

    def _launched_evaluator(self, phi: MetaParameters) -> Evaluator:
        """The same, with kernels launched one by one."""
        eager = Evaluator(self.learner, self.episodes_at_once(phi), processes=self.processes)
        if "compile_evaluation" not in self.decisions:
            wanted = self.wants_compiled_evaluation(eager.chunk)
            equal = wanted and compilation.evaluates_alike(eager, phi, self._sample(LIKE_TEST, eager.chunk))
            self.decisions["compile_evaluation"] = wanted and not self.processes.any(not equal)
        compiled = self.decisions["compile_evaluation"]
        return Evaluator(self.learner, eager.chunk, compiled, self.processes) if compiled else eager

    def tasks_at_once(self, phi: MetaParameters) -> int:
        """How many tasks of this process's share of a meta-batch are computed at once; decides ``task_chunk``."""
        share = self.processes.share(self.settings.meta_batch_size)
        return self._at_once("task_chunk", self._meta_step(phi), "train", share.stop - share.start)

    def episodes_at_once(self, phi: MetaParameters) -> int:
        """How many episodes are measured at once; decides ``episodes_at_once``."""
        return self._at_once("episodes_at_once", self._evaluation(phi), LIKE_TEST, EPISODES_AT_ONCE)

    def wants_compiled(self) -> bool:
        """Whether the rule asks for a compiled meta-step."""
        inner = self.learner.algorithm.steps(testing=False)
        return self._wanted(lambda: compilation.pays(self.learner, self._meta_batch(), inner, self.settings.steps))

    def wants_compiled_evaluation(self, at_once: int) -> bool:
        """Whether the rule asks for a compiled evaluation, of so many episodes at once."""
        inner = self.learner.algorithm.steps(testing=True)
        chunks = self._episodes() // (at_once * self.processes.count)
        return self._wanted(lambda: compilation.pays(self.learner, self._sample(LIKE_TEST, at_once), inner, chunks))

    def meta_step_memory(self, phi: MetaParameters, tasks: int) -> float | None:
        """Bytes that a meta-step takes beside φ, optimiser and data, with so many tasks at once, by an estimate.

        ``None`` where none can be made.
        """
        return self._estimated(lambda: needed(self._meta_step(phi), lambda count: self._sample("train", count), tasks))

    def evaluation_memory(self, phi: MetaParameters, episodes: int) -> float | None:
        """The same of an evaluation, with so many episodes at once."""
        evaluation = self._evaluation(phi)
        return self._estimated(lambda: needed(evaluation, lambda count: self._sample(LIKE_TEST, count), episodes))

    def _meta_step(self, phi: MetaParameters) -> Callable[[TaskBatch], object]:
        eager = MetaGradient(self.learner, None, compiled=False)
        return lambda batch: eager(phi, batch)

    def _evaluation(self, phi: MetaParameters) -> Callable[[TaskBatch], object]:
        eager = Evaluator(self.learner)
        return lambda batch: eager.curves(phi, batch, whole=True)

    def _recorded(
        self, plain: C, recorded: C, computed: Callable[[C, MetaParameters, int], object], phi: MetaParameters
    ) -> C:
        """``recorded``, if it computes what ``plain`` does at another φ and tasks than those it was recorded with."""
        computed(recorded, displaced(phi), 0)
        if agree(computed(recorded, phi, 1), computed(plain, phi, 1)):
            return recorded
        log.info("a CUDA graph computed something else than was recorded: going on without")
        return plain

    def _meta_batch(self, index: int = 0) -> TaskBatch:
        return self.dataset.sample("train", index, self.settings.meta_batch_size, self.group)

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
        if free is None or surely_fits(self.learner, self._sample(stream, 1), wanted, free):
            return wanted
        found = self._estimated(lambda: fitting(computation, lambda tasks: self._sample(stream, tasks), wanted, free))
        return wanted if found is None else int(found)

    def _sample(self, stream: str, tasks: int, index: int = 0) -> TaskBatch:
        return self.dataset.sample(stream, index, tasks)

    def _estimated(self, estimate: Callable[[], float]) -> float | None:
        try:
            return estimate()
        except Exception as error:  # an operation that has no shape without contents; a user's, perhaps
            log.info("memory could not be estimated (%s)", str(error).partition("\n")[0])
            return None
