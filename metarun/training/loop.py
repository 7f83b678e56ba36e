"""The meta-training loop: sample, meta-step, log, validate, save."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from math import isfinite, nan
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from metarun.algorithms.base import Learned
from metarun.config.quoting import command_line, path_setting
from metarun.core.errors import Diverged, Interrupted, UserError
from metarun.datasets.base import Dataset, Sampler
from metarun.datasets.repeated import Repeated
from metarun.engine.divergence import DivergenceCheck
from metarun.engine.evaluation import EvaluationResult, Evaluator
from metarun.engine.meta_gradient import MetaGradient, Metrics
from metarun.engine.planning import Planner
from metarun.engine.processes.single import Processes
from metarun.engine.selection import Chosen, Selector
from metarun.engine.sequence import Sequence, by_group
from metarun.engine.settings import EngineSettings
from metarun.inspection.monitor import Monitor
from metarun.learner.learner import Learner, MetaParameters
from metarun.runs import checkpoint
from metarun.runs.checkpoint import Best, State
from metarun.runs.files import best_file, last_file
from metarun.training.outer_optimizer import OuterOptimizer, meta_update
from metarun.training.output_regularizer import OutputRegularizer
from metarun.training.profiling import profiling
from metarun.training.progress import TrainingLog
from metarun.training.stopping import StopRequest
from metarun.training.whole_step import WholeStep

WARM_UP = 3
"""Meta-updates at a process's start that don't count for the speed: they compile and warm caches."""


@dataclass
class Training:
    """One run's meta-training. ``state`` is where it stands; ``run`` takes it to the end."""

    learner: Learner
    dataset: Dataset
    settings: EngineSettings
    config: dict[str, Any]
    folder: Path
    log: TrainingLog
    monitor: Monitor | None
    """That of the first process."""
    state: State
    planner: Planner
    evaluator: Evaluator
    processes: Processes
    """Those that share the meta-batches; the first alone writes."""
    lr_scales: Mapping[str, float]
    """Factors on the outer step size, by group of φ."""

    def run(self, stop: StopRequest) -> None:
        """Train to ``engine.steps``; an algorithm with no outer loop is validated and saved as it is.

        Raises `Interrupted` when asked to stop, and `Diverged` when a loss or the meta-gradient is not finite.
        """
        if isinstance(self.learner.algorithm, Learned) and self.state.step < self.settings.steps:
            steps = self.settings.profile_steps if self.processes.is_main_process else 0
            with profiling(steps, self.folder, self.log.profiled) as profiled:
                self._train(self.learner.algorithm, stop, profiled)
        if self.state.best is None:
            validated = self._validate()
            self._save()
            if self.monitor is not None:
                self.monitor.on_validation(self.state.phi, self.state.step, validated)

    def _train(self, algorithm: Learned, stop: StopRequest, profiled: Callable[[], None]) -> None:
        state, settings = self.state, self.settings
        optimizer = OuterOptimizer(algorithm.outer, state.phi, settings.gradient_clip, self.lr_scales)
        if state.optimizer:
            try:
                optimizer.load_state_dict(state.optimizer)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(f"{self.folder}: a broken checkpoint (optimizer: {error})") from error
        if not state.step:
            self._save(optimizer)  # so that a run killed before its first checkpoint can be resumed
        meta_gradient = self.planner.meta_gradient(state.phi)
        tasks, processes = settings.meta_batch_size, self.processes
        few = settings.train_tasks
        source: Sampler = self.dataset if few is None else Repeated(self.dataset, few)
        selector = Selector(algorithm.outer.tasks, self.learner, source, tasks, meta_gradient.chunk, processes)
        sequence = self._sequence()
        scheduled = sequence if settings.schedule_per == "group" else Sequence(0, settings.steps)
        state.decisions["task_chunk"] = meta_gradient.chunk
        behind = self._behind()
        whole = self._whole_step(algorithm, source, meta_gradient, optimizer)
        if whole is None:
            meta_gradient = self.planner.recorded_meta_gradient(meta_gradient, state.phi)
        warm = state.step + WARM_UP
        while state.step < settings.steps:
            started = time.perf_counter()
            group = sequence.group(state.step)
            if state.step and sequence.begins(state.step):
                # Else the momentum of groups behind would go on moving what belongs to them alone.
                optimizer = OuterOptimizer(algorithm.outer, state.phi, settings.gradient_clip, self.lr_scales)
            progress = state.step / settings.steps
            lr = algorithm.outer.lr_at(*scheduled.within(state.step))
            if whole is not None:
                metrics, norm = whole(state.step, lr)
            else:
                chosen = selector(state.phi, state.step, progress, group)
                gradient_at = partial(self._gradient_at, meta_gradient, chosen, progress, stop)
                gradient, metrics = algorithm.outer_gradient(gradient_at, state.phi)
                state.decisions["task_chunk"] = meta_gradient.chunk  # less than before where memory ran out
                metrics = metrics | chosen.metrics
                if behind is not None:
                    gradient, metrics["omega/output"] = self._held(behind, optimizer, gradient, lr)
                norm = meta_update(algorithm, state.phi, optimizer, gradient, metrics, lr)
            profiled()
            state.step += 1
            last = state.step == settings.steps
            due = last or state.step % settings.val_every == 0
            saving = last or state.step % settings.checkpoint_every == 0
            if (
                optimizer.frozen.is_cpu  # no device to wait for
                or due
                or saving
                or self.log.due(state.step)
                or stop.asked
                or sequence.begins(state.step)
            ):
                self._refuse_lost(optimizer)
            if state.step > warm:  # steps that nobody has waited for are over by the time of the next look
                state.measured_steps += 1
                state.measured_seconds += time.perf_counter() - started
            self.log.step(state.step, metrics, lr, norm, state.speed(settings.meta_batch_size))
            if group is not None and (last or sequence.begins(state.step)):
                self._close()
                behind = self._behind()
            validated = self._validate(optimizer) if due else None
            state.seconds += time.perf_counter() - started
            stopping = processes.should_stop(stop.asked)
            if saving or stopping:
                self._refuse_lost(optimizer)
                self._save(optimizer)
            looked = time.perf_counter()
            self._look(validated)
            state.seconds += time.perf_counter() - looked
            if stopping and not last:
                command = processes.launcher + command_line(self.config, path_setting("resume", self.folder))
                raise Interrupted(f"stopped at step {state.step:,} of {settings.steps:,}; resume with: {command}")

    def _gradient_at(
        self, meta_gradient: MetaGradient, chosen: Chosen, progress: float, stop: StopRequest, phi: MetaParameters
    ) -> tuple[MetaParameters, Metrics]:
        """The gradient at ``phi`` and the metrics of a meta-batch, averaged over all processes."""
        local = meta_gradient(phi, chosen.batch, progress, chosen.weights)
        return self.processes.all_reduce(local, len(chosen.batch.number) / self.settings.meta_batch_size, stop.asked)

    def _whole_step(
        self, algorithm: Learned, source: Sampler, meta_gradient: MetaGradient, optimizer: OuterOptimizer
    ) -> WholeStep | None:
        """Meta-updates recorded as a whole, where they may be and can be."""
        outer, settings = algorithm.outer, self.settings
        if (
            not self.planner.record
            or self.processes.count > 1
            or settings.order == "sequential"
            or settings.train_tasks is not None
            or outer.tasks.select != "all"
            or outer.slow.ratio != 1
            or self.planner.annealed()
        ):
            return None
        whole = WholeStep(algorithm, self.state.phi, source, settings.meta_batch_size, meta_gradient, optimizer)
        return whole if whole.trusted(self.state.step, outer.lr) else None

    def _refuse_lost(self, optimizer: OuterOptimizer) -> None:
        """Raises `Diverged` if a meta-update was not made, with φ saved as it was before it; waits for the device."""
        if not (lost := optimizer.lost()):
            return
        self.state.step -= lost
        self._save(optimizer)
        raise Diverged(
            f"the loss or the meta-gradient at step {self.state.step + 1} is not finite; φ before it is saved. "
            "Lower the inner or outer step size (algorithm.inner_lr, algorithm.outer.lr)"
        )

    def _look(self, validated: EvaluationResult | None) -> None:
        """Show what there is to see after a meta-update, once it is saved; ``validated``: the validation, if any."""
        if self.monitor is None:
            return
        if validated is not None:
            self.monitor.on_validation(self.state.phi, self.state.step, validated)
        self.monitor.on_update(self.state.phi, self.state.step)

    def _sequence(self) -> Sequence:
        groups = len(self.dataset.groups) if self.settings.order == "sequential" else 0
        return Sequence(groups, self.settings.steps)

    def _held(
        self, behind: OutputRegularizer, optimizer: OuterOptimizer, gradient: MetaParameters, lr: float
    ) -> tuple[MetaParameters, Tensor]:
        """The gradient with that of the output regularizer at the candidate step, and the regularizer."""
        pull, change = behind(optimizer.candidate(gradient, lr))
        self.processes.broadcast((pull, change))  # or rounding might let their φ drift apart
        weight = self.learner.penalties.output
        return tree_map(lambda first, second: first + weight * second, gradient, pull), change

    def _close(self) -> None:
        """After the last step of a group: measure every group, and keep φ where the output regularizer asks for it."""
        state, settings = self.state, self.settings
        row = by_group(self.evaluator, state.phi, self.dataset, settings.val_episodes)
        state.forgetting.append(row)
        self.log.learned(state.step, self.dataset, state.forgetting)
        if self.learner.penalties.output:
            state.kept = tree_map(torch.clone, state.phi)

    def _behind(self) -> OutputRegularizer | None:
        """The output regularizer for the groups behind, if it is wanted and there are any."""
        if not self.state.kept:
            return None
        count = self.learner.penalties.remember
        behind = [self.dataset.sample("train", 0, count, group) for group in range(len(self.state.forgetting))]
        return OutputRegularizer(self.learner, self.state.kept, behind, self.state.decisions["task_chunk"])

    def _validate(self, optimizer: OuterOptimizer | None = None) -> EvaluationResult:
        """Measure φ on the fixed meta-val episodes, and keep it if it is the best so far; of equals, the first.

        The best state is saved with its ``optimizer``, so that the run can go on from there if the last one is damaged.
        Of a sequence the last φ is kept: the best may have seen a part of the groups only. One whose metric is not
        finite is never the best; if all are like that, the last is kept so that it can be tested.

        Raises `Diverged`, keeping nothing, where the metric explodes and the settings ask to stop then.
        """
        state, kind, settings = self.state, self.learner.problem.kind, self.settings
        check, last = self._divergence, optimizer is None or self.state.step == self.settings.steps
        episodes = self.evaluator(
            state.phi, self.dataset, "val", settings.val_episodes, False, with_baselines=check.needs_baselines
        )
        found = check(state.phi, state.step, episodes, self.evaluator.chunk, last)
        value = episodes.mean(kind.metric)
        sign = 1 if kind.higher_is_better else -1
        best = state.best.metrics[kind.metric]["mean"] if state.best else nan
        stops = found is not None and found.severe and settings.on_divergence == "stop"
        stops = bool(self.processes.broadcast_text("stop" * stops))  # for all, whatever rounding does to the others
        better = not stops and (
            settings.order == "sequential" or (isfinite(value) and not (isfinite(best) and sign * value <= sign * best))
        )
        if better or (last and state.best is None and not stops):
            state.best = Best(state.step, episodes.summary())
            self._write(best_file(self.folder), optimizer)
        self.log.validated(state.step, episodes, kind.metric, better)
        line = f"step {state.step:,}: the error explodes" if found is None else found.line
        if stops:
            raise Diverged(f"{line} (stopped by engine.on_divergence=stop; {self._kept()})")
        if found is not None:
            self.log.warned(line)
        return episodes

    def _kept(self) -> str:
        """What there is of a run that diverged."""
        if self.state.best is None:
            return "no state was validated before"
        test = command_line(self.config, "mode=test", path_setting("checkpoint", self.folder))
        return f"to test the best state, of step {self.state.best.step:,}: {test}"

    @cached_property
    def _divergence(self) -> DivergenceCheck:
        return DivergenceCheck(self.learner, self.dataset, self.settings.order == "sequential")

    def _save(self, optimizer: OuterOptimizer | None = None) -> None:
        self._write(last_file(self.folder), optimizer)

    def _write(self, file: Path, optimizer: OuterOptimizer | None) -> None:
        if optimizer is not None:
            self.state.optimizer = optimizer.state_dict()
        if self.processes.is_main_process:
            checkpoint.save(file, self.state, self.config, self.learner.problem)
