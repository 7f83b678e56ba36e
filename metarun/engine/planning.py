"""How a run computes: decided once, by rules on the configuration and the machine, and kept in its state.

Decisions change rounding and nothing else. A resumed run keeps those of its beginning.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from metarun.algorithms.base import Learned
from metarun.core.free_memory import available
from metarun.core.tasks import TaskBatch
from metarun.datasets.base import Dataset
from metarun.engine.compile import auto_rules, compilation
from metarun.engine.compile.perturbation import perturbed
from metarun.engine.compile.recording import agree
from metarun.engine.compile.workload import Workload, workload
from metarun.engine.device import DeviceSettings
from metarun.engine.evaluation import EPISODES_AT_ONCE, Evaluator, episodes_of
from metarun.engine.memory_estimate import fitting, needed, surely_fits
from metarun.engine.meta_gradient import MetaGradient
from metarun.engine.processes.single import Processes, part
from metarun.engine.settings import EngineSettings
from metarun.learner.learner import Learner, MetaParameters

log = logging.getLogger(__name__)

C = TypeVar("C")
T = TypeVar("T")

EVALUATION = ("episodes_at_once", "compile_evaluation")
"""Decisions about evaluation alone."""
BY_SHARE = ("task_chunk", "episodes_at_once", "threads")
"""Decisions by a process's share of tasks, memory and cores."""
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
    _counted: dict[str, Workload | None] = field(default_factory=dict, init=False, repr=False)

    def meta_gradient(self, phi: MetaParameters) -> MetaGradient:
        """That of the run's meta-batches. ``compile`` and ``task_chunk`` are decided at the first call for a run."""
        eager = MetaGradient(self.learner, self.tasks_at_once(phi), compiled=False)
        if "compile" in self.decisions:
            return MetaGradient(self.learner, eager.chunk, self.decisions["compile"])
        if not self.wants_compiled(phi):
            self.decisions["compile"] = False
            return eager
        batch, share = self._meta_batch(), self.processes.local_slice(self.settings.meta_batch_size)
        chosen = compilation.compiled_if_equal(self.learner, eager, phi, part(batch, share))
        self.decisions["compile"] = not self.processes.any(chosen is eager)
        return chosen if self.decisions["compile"] else eager

    def recorded_meta_gradient(self, plain: MetaGradient, phi: MetaParameters) -> MetaGradient:
        """The same as a CUDA graph, where it can be recorded."""
        if not self.record:
            return plain
        share = self.processes.local_slice(self.settings.meta_batch_size)

        def computed(meta_gradient: MetaGradient, phi: MetaParameters, index: int) -> MetaParameters:
            return meta_gradient(phi, part(self._meta_batch(index), share))[0]

        return self._recorded(plain, plain.recorded(), computed, phi)

    def annealed(self) -> bool:
        """Whether anything other than φ changes over meta-training."""
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
            wanted = self.wants_compiled_evaluation(phi)
            equal = wanted and compilation.evaluates_alike(eager, phi, self._sample(LIKE_TEST, eager.chunk))
            self.decisions["compile_evaluation"] = wanted and not self.processes.any(not equal)
        compiled = self.decisions["compile_evaluation"]
        return Evaluator(self.learner, eager.chunk, compiled, self.processes) if compiled else eager

    def tasks_at_once(self, phi: MetaParameters) -> int:
        """How many tasks of this process's share of a meta-batch are computed at once; decides ``task_chunk``."""
        share = self.processes.local_slice(self.settings.meta_batch_size)
        return self._at_once("task_chunk", self._meta_step(phi), "train", share.stop - share.start)

    def episodes_at_once(self, phi: MetaParameters) -> int:
        """How many episodes are measured at once; decides ``episodes_at_once``."""
        return self._at_once("episodes_at_once", self._evaluation(phi), LIKE_TEST, EPISODES_AT_ONCE)

    def threads(self, phi: MetaParameters, device: DeviceSettings) -> int:
        """Threads for arithmetic on the CPU, of each process; decides ``threads``.

        Without a number given these are all that it may take, or one if the operations of a meta-step (without
        meta-training: of an evaluation) are too small to be shared.
        """
        if "threads" not in self.decisions:
            most = self.processes.most_threads(device)
            alone = device.given_threads is None and most > 1 and not self._worth_sharing(phi)
            self.decisions["threads"] = 1 if alone else most
        return int(self.decisions["threads"])

    def wants_compiled(self, phi: MetaParameters) -> bool:
        """Whether the rule asks for a compiled meta-step."""
        chunks = -(-self._share() // self.tasks_at_once(phi))
        return self._wanted({"meta-step": self.settings.steps * chunks}, phi)

    def wants_compiled_evaluation(self, phi: MetaParameters) -> bool:
        """Whether the rule asks for a compiled evaluation: apart from the meta-step, by what it costs and saves."""
        settings, dataset = self.settings, self.dataset
        val, test, train = (
            -(-episodes_of(dataset, stream, asked) // (self.episodes_at_once(phi) * self.processes.count))
            for stream, asked in (
                ("val", settings.val_episodes),
                ("test", settings.test_episodes),
                (LIKE_TEST, settings.test_episodes),
            )
        )
        trains = isinstance(self.learner.algorithm, Learned)
        validations = -(-settings.steps // settings.val_every) if trains else 1
        return self._wanted({"evaluation": validations * val + train, "whole evaluation": test}, phi)

    def meta_step_memory(self, phi: MetaParameters, tasks: int) -> float | None:
        """Estimated bytes of a meta-step with ``tasks`` tasks at once, without φ, optimizer and data.

        ``None`` where none can be made.
        """
        return self._estimated(
            "memory", lambda: needed(self._meta_step(phi), lambda count: self._sample("train", count), tasks)
        )

    def evaluation_memory(self, phi: MetaParameters, episodes: int) -> float | None:
        """The same for an evaluation with ``episodes`` episodes at once."""
        evaluation = self._evaluation(phi)
        return self._estimated(
            "memory", lambda: needed(evaluation, lambda count: self._sample(LIKE_TEST, count), episodes)
        )

    def _meta_step(self, phi: MetaParameters) -> Callable[[TaskBatch], object]:
        eager = MetaGradient(self.learner, None, compiled=False)
        return lambda batch: eager(phi, batch)

    def _evaluation(self, phi: MetaParameters, whole: bool = True) -> Callable[[TaskBatch], object]:
        eager = Evaluator(self.learner)
        return lambda batch: eager.curves(phi, batch, whole)

    def _recorded(
        self, plain: C, recorded: C, computed: Callable[[C, MetaParameters, int], object], phi: MetaParameters
    ) -> C:
        """``recorded``, if it computes what ``plain`` does at another φ and tasks than those it was recorded with."""
        computed(recorded, perturbed(phi), 0)
        if agree(computed(recorded, phi, 1), computed(plain, phi, 1)):
            return recorded
        log.info("a CUDA graph computed something else than was recorded: going on without")
        return plain

    def _meta_batch(self, index: int = 0) -> TaskBatch:
        return self.dataset.sample("train", index, self.settings.meta_batch_size, self.group)

    def _wanted(self, times: dict[str, int], phi: MetaParameters) -> bool:
        """Whether to compile computations that the run performs ``times`` times."""
        if self.compile != "auto" or sum(times.values()) < auto_rules.FEWEST:
            return self.compile == "true"
        counted = [(self._workload(name, phi), often) for name, often in times.items()]
        known = [(load, often) for load, often in counted if load is not None]
        return len(known) == len(counted) and auto_rules.pays(known, self._savings())

    def _savings(self) -> auto_rules.Savings:
        if self.record:
            return auto_rules.RECORDED
        return auto_rules.ON_CPU if _device(self.learner).type == "cpu" else auto_rules.LAUNCHED

    def _worth_sharing(self, phi: MetaParameters) -> bool:
        if _device(self.learner).type != "cpu":
            return True
        load = self._workload("meta-step" if isinstance(self.learner.algorithm, Learned) else "evaluation", phi)
        return load is None or auto_rules.worth_sharing(load)

    def _workload(self, name: str, phi: MetaParameters) -> Workload | None:
        """How much there is to do in one part of a meta-step or an evaluation; ``None`` if that cannot be counted."""
        if name not in self._counted:
            stream, computation, at_once = (
                ("train", self._meta_step(phi), self.tasks_at_once(phi))
                if name == "meta-step"
                else (LIKE_TEST, self._evaluation(phi, whole=name != "evaluation"), self.episodes_at_once(phi))
            )
            self._counted[name] = self._estimated(
                "operations", lambda: workload(computation, self._sample(stream, at_once))
            )
        return self._counted[name]

    def _share(self) -> int:
        """Tasks of a meta-batch that a process computes, at most."""
        return -(-self.settings.meta_batch_size // self.processes.count)

    def _at_once(self, decision: str, computation: Callable[[TaskBatch], object], stream: str, wanted: int) -> int:
        """How many of ``wanted`` tasks of a stream to compute at once."""
        asked = self.settings.task_chunk
        if isinstance(asked, int):
            return min(asked, wanted)
        if decision not in self.decisions:
            # Processes take episodes in turn by chunks, which must be the same for all.
            self.decisions[decision] = int(
                self.processes.broadcast_text(str(self._that_fit(computation, stream, wanted)))
            )
            if self.decisions[decision] < wanted:
                log.info("%s of %s tasks at once, by an estimate of memory", self.decisions[decision], wanted)
        return min(int(self.decisions[decision]), wanted)

    def _that_fit(self, computation: Callable[[TaskBatch], object], stream: str, wanted: int) -> int:
        device = _device(self.learner)
        free = available(device)
        if free is not None:
            free //= self.processes.count_on(device)
        if free is None or surely_fits(self.learner, self._sample(stream, 1), wanted, free):
            return wanted
        found = self._estimated(
            "memory", lambda: fitting(computation, lambda tasks: self._sample(stream, tasks), wanted, free)
        )
        return wanted if found is None else found

    def _sample(self, stream: str, tasks: int, index: int = 0) -> TaskBatch:
        return self.dataset.sample(stream, index, tasks)

    def _estimated(self, what: str, estimate: Callable[[], T]) -> T | None:
        try:
            return estimate()
        except Exception as error:  # an operation that has no shape without contents; a user's, perhaps
            log.info("%s could not be estimated (%s)", what, str(error).partition("\n")[0])
            return None


def _device(learner: Learner) -> torch.device:
    return next(iter(learner.model.network.parameters())).device
